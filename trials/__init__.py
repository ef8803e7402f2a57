"""EnlightenGAN: networks, losses, data, metrics and training. Plain PyTorch; knows neither Ray nor MLflow."""
