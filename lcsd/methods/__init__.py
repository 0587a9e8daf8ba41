"""Registration of two images by other programs, each through its public interface."""
