#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""no_secrets.py - no secret of the configuration is ever printed, recorded or kept.

Each secret has a word of its own. The daemon runs with them, on the embedded stream and towards a
broker that is not there (with librdkafka's own debugging on); it is reloaded with others, and
started with each of them malformed. Then none of the words may be in a log, a STATUS, an answer of
iloractl, a ledger record or a file of the state.

The other way round too: what a producer writes into ids and titles gives no orders to the terminal
of whoever looks at it, and no lines to the log.
"""
import os
import signal
import socket
import sys
import time

from bad_input_daemon import Daemon, Failure, clean_environment, expect, run_checks

SECRETS = {
    "http.token": "xyzzy-token", "kafka.sasl.password": "xyzzy-password",
    "kafka.sasl.username": "xyzzy-user", "kafka.ssl.key.password": "xyzzy-key",
    "kafka.ssl.keystore.password": "xyzzy-store",
}
WORD = "xyzzy"


def clean(where, text):
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if WORD in text:
        at = text.index(WORD)
        raise Failure(f"{where} shows a secret: {text[max(0, at - 120):at + 40]!r}")


def clean_folder(folder):
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            if os.path.isfile(whole):
                with open(whole, "rb") as data:
                    clean(whole, data.read())


def clean_daemon(daemon):
    clean("the log", daemon.log())
    clean("STATUS", "\n".join(daemon.words("")))
    clean_folder(daemon.state)


def settings():
    return {k.replace(".", "__", 1): v for k, v in SECRETS.items()}


def check_embedded():
    with Daemon(log__level="debug", **settings()) as daemon:
        daemon.start()
        daemon.produce([{"user": "u", "item": "i"}] * 40)
        daemon.until_status(applied=40)
        shown = daemon.ctl("config")
        clean("iloractl config", shown.stdout + shown.stderr)
        expect(b"token = (secret)" in shown.stdout, "the token is not even mentioned")
        expect(b"sasl.password = (secret)" in shown.stdout, "the password is not even mentioned")
        for topic in ("ledger", "predictions"):
            clean(topic, daemon.ctl("consume", topic, "--from-beginning", "--envelope").stdout)
        daemon.settings["http.token"] = "xyzzy-other"
        daemon.rewrite()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: "http.token changed" in daemon.log(), "a word about the new token")
        daemon.stop()
        shown = daemon.ctl("config", "--file")
        clean("iloractl config --file", shown.stdout + shown.stderr)
        clean_daemon(daemon)
    return "log, STATUS, config, ledger and state are clean"


def check_broker():
    with socket.socket() as closed:  # bound and not listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{closed.getsockname()[1]}"
        more = {"kafka.security.protocol": "SASL_PLAINTEXT", "kafka.sasl.mechanisms": "PLAIN",
                "kafka.debug": "security,broker,conf"}
        with Daemon(stream__kind="kafka", kafka__bootstrap_servers=where, log__level="debug",
                    **settings()) as daemon:
            daemon.settings.update(more)
            daemon.rewrite()
            daemon.start(wait=False)
            daemon.until(lambda: daemon.words("STATUS="), "a STATUS")
            time.sleep(2)
            daemon.process.kill()
            daemon.process.wait()
            expect(where in daemon.log() + "".join(daemon.words("STATUS=")), "it never connected")
            clean_daemon(daemon)
    return "a broker that refuses: log and STATUS are clean"


def check_malformed():
    lines = {
        "too long": "[http]\ntoken = " + WORD * 100 + "\n",
        "a typing error": f"[kafka]\nsasl.pasword = {WORD}\n",
        "no equals sign": f"[kafka]\nsasl.password {WORD}\n",
        "refused": f"[kafka]\nsasl.oauthbearer.client.secret = {WORD}\n",
        "the wrong section": f"[state]\nsasl.password = {WORD}\n",
        "long line": "[kafka]\nsasl.password = " + WORD * 300 + "\n",
        "not UTF-8": f"[kafka]\nssl.key.password = {WORD}\n".encode() + b"\xff\xfe\n",
    }
    for what, text in lines.items():
        with Daemon() as daemon:
            daemon.settings = {}
            with open(daemon.config, "wb") as out:
                out.write(text if isinstance(text, bytes) else text.encode())
            words = daemon.refused("--check-config")
            clean(what, words)
            clean(what, daemon.log())
            expect(words, f"{what}: no word")
    return f"{len(lines)} malformed secrets: refused without being shown"


def check_terminal():
    orders = "\x1b]0;owned\x07\x1b[2J\u009b31m\r\n2026 error: forged\x7f"
    with Daemon() as daemon:
        daemon.start()
        daemon.produce([{"event": "item", "item": f"i{n}", "title": f"{n}{orders}"}
                        for n in range(20)])
        daemon.produce([{"user": f"u{n % 9}{orders}", "item": f"i{n % 20}{'' if n % 2 else orders}"}
                        for n in range(320)])
        daemon.produce([{"command": "set", "key": f"x{orders}", "value": orders}], "control")
        daemon.until_status(applied=320)
        user = f"u1{orders}"
        daemon.until(lambda: b". " in daemon.ctl("recommend", user, good=False).stdout, "a list")
        for words in (("history", user), ("recommend", user)):
            shown = daemon.ctl(*words).stdout
            for bad in (b"\x1b", b"\x07", b"\xc2\x9b", b"\r", b"\x7f"):
                expect(bad not in shown, f"{words[0]} prints {bad}: {shown!r}")
            expect(b"owned" in shown, f"{words[0]} shows other items: {shown!r}")
            expect(not [line for line in shown.split(b"\n") if line.startswith(b"2026 error")],
                   "a forged line")
        daemon.until(lambda: "there is no setting" in daemon.log(), "a word about the setting")
        expect("\x1b" not in daemon.log() and "\n2026 error" not in daemon.log(), daemon.tail())
        daemon.stop()
    return "ids, titles and settings with escape sequences are shown without"


def main():
    os.environ.update(clean_environment())
    checks = (check_embedded, check_broker, check_malformed, check_terminal)
    return 1 if run_checks([(check.__name__[len("check_"):], check) for check in checks]) else 0


if __name__ == "__main__":
    sys.exit(main())
