"""What users ask of a trained model: recommendations and predictions, in their own ids."""
