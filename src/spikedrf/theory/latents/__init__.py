"""Theory in latent coordinates: several directions, classes and covariances of inputs."""
