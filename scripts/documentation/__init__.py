"""What the documentation is checked and made by: the blocks of its pages, and the pages that are written from code."""
