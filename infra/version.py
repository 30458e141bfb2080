"""The version of the application: the one place, for the build too."""

VERSION = "0.1.0"
