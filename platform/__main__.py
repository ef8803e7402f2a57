"""`python -m platform` prints the platform, as it does without this package."""

import sys

import platform

if __name__ == "__main__":
    terse = "terse" in sys.argv or "--terse" in sys.argv
    aliased = "nonaliased" not in sys.argv and "--nonaliased" not in sys.argv
    sys.stdout.write(f"{platform.platform(aliased, terse)}\n")
