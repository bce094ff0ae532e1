"""What every test starts from."""

import signal

# A job in the background starts with Ctrl-C ignored, and so would every program that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
