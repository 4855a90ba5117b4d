"""What checks the words of the documentation: it reads prose, finds what is wrong with it, and passes over code."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
try:
    import check_prose
finally:
    sys.path.remove(str(ROOT / "scripts"))


def found(path: Path, text: str, capsys) -> list[tuple[str, str]]:
    """By finding its line and the check."""
    path.write_text(text, encoding="utf-8")
    code = check_prose.main([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert code == (1 if lines else 0)
    return [(line.removeprefix(f"{path}:").split(":")[0], line.split(": ")[1]) for line in lines]


def test_words_of_a_page_are_checked_and_its_code_is_not(tmp_path, capsys):
    good = "# The the\n\n```text\nit is very unique\nthe the\n```\n\nRun `very` or `very`: 3 3 3.\n"
    assert found(tmp_path / "a.md", good.replace("# The the", "# Two"), capsys) == []
    bad = "# Two\n\n```text\nthe the\n```\n\nThis is very unique.\nIt is is so.\n"
    assert {("7", "uncomparables"), ("8", "lexical_illusions")} <= set(found(tmp_path / "b.md", bad, capsys))


def test_docstrings_comments_and_messages_are_checked(tmp_path, capsys):
    code = [
        '"""A file of the best."""',
        "def f(x):",
        '    """Gives what what is there.',
        "",
        "    >>> f(1), f(1)",
        '    """',
        '    raise ValueError(f"{x} is is not {x} x")',
        "y = 1  #: the most most of all",
        'z = "a a a"',
    ]
    lines = {line for line, check in found(tmp_path / "c.py", "\n".join(code), capsys) if check == "lexical_illusions"}
    assert lines == {"3", "7", "8"}
