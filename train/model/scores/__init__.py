"""Class scores from clip statistics: statistics (base class, Gaussians), familiarity (unknown?), ridge, probe."""
