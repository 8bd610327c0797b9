"""Class scores of a clip as a whole: statistics (base class, Gaussians), familiarity (unknown?), ridge, probe."""
