"""Where every `headway` starts: what may come before the first import of anything is seen to.

Signals have the meaning here that they have for any small program: Ctrl-C ends it without a word.
Who tells all processes of a Headway to renew themselves means the supervisor: one that is still
on its way to become that, and all the others, pass it over.
"""

import signal


def run() -> None:
    """Read the words of the command line and do what they say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    from headway.cli.main import main  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    run()
