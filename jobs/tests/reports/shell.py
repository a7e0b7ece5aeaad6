"""Types into `meterhouse sql` on a terminal of its own, twice, and reads what it shows."""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PROMPT = "meterhouse=> "
TAB, UP, CONTROL_C, CONTROL_D = "\t", "\x1b[A", "\x03", "\x04"


class Terminal:
    def __init__(self):
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execv(sys.argv[1], [sys.argv[1], "sql"])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.shown = ""
        check(self.prompt(), "\\? helps")

    def read(self, seconds):
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:  # Linux says so when the other side is gone.
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode(errors="replace"))
        return bool(piece)

    def until(self, is_there):
        """What is shown once a condition on it holds and nothing more comes; the line is drawn anew with each key."""
        end = time.monotonic() + 60
        while not is_there(self.shown) or self.read(0.3):
            if time.monotonic() > end:
                sys.exit(f"this is all that is shown: {self.shown!r}")
            if not is_there(self.shown):
                self.read(1)
        shown, self.shown = self.shown, ""
        return shown

    def prompt(self):
        return self.until(lambda shown: shown.rstrip("\r").endswith(PROMPT))

    def type(self, text):
        os.write(self.terminal, text.encode())

    def see(self, text, *expected):
        """Types, and waits until all this is shown."""
        self.type(text)
        return self.until(lambda shown: all(word in shown for word in expected))

    def ask(self, text):
        """Types a line, and waits for the next prompt."""
        self.type(text + "\r")
        return self.prompt()

    def end(self):
        while self.read(30):
            pass
        status = os.waitpid(self.process, 0)[1]
        if status != 0:
            sys.exit(f"the shell ended with {status}")


def check(shown, *expected):
    for text in expected:
        if text not in shown:
            sys.exit(f"expected {text!r} in {shown!r}")


first = Terminal()
check(first.ask("\\d"), "usage_events", "invoice_lines", "charges")
check(first.ask("\\d tenants"), "column", "time_zone", "meaning")
check(first.ask("\\d nothing"), "there is no table or view nothing")
check(first.ask("SELECT 20 + 22 AS answer;"), "answer", "42")
check(first.ask("\\timing"), "timing is on")
check(first.ask("SELECT 1 AS one;"), "one", " s\r\n")
check(first.ask("\\timing"), "timing is off")
# One word is left, and is written out.
first.see("SELECT count(*) AS n FROM invoice_l" + TAB, "invoice_lines")
check(first.ask(";"), "8")
# Two are left, and are listed.
first.see("SELECT * FROM invoice" + TAB + TAB, "invoice_lines", "invoices")
first.type(CONTROL_C)
first.prompt()
# A query goes over two lines.
first.see("SELECT 3\r", "\n")
check(first.ask("  * 4 AS product;"), "product", "12")
# A long one is interrupted, and the shell goes on.
LONG = "SELECT count(*) FROM generate_series(1, 1000000000000) AS a WHERE a.value % 7 = -1;"
first.see(LONG + "\r", "\n")
time.sleep(1)
first.type(CONTROL_C)
check(first.prompt(), "stopped")
check(first.ask("SELECT nonsense;"), "error", "nonsense")
check(first.ask("SELECT 'kept' AS last_of_all;"), "kept")
first.type(CONTROL_D)
first.end()

second = Terminal()
second.see(UP, "last_of_all;")
check(second.ask(""), "kept")
second.see(UP + UP + UP, "nonsense;")
second.type(CONTROL_C)
second.prompt()
second.type("\\q\r")
second.end()
print("ok")
