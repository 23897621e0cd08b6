"""`python -m podtracer_nb.cli` is `podtracer`."""

from podtracer_nb.cli.entry import main

if __name__ == "__main__":
    main()
