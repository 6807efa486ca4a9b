"""Parts shared by the models, without any paper's constants."""
