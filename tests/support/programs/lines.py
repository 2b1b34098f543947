"""A provider that speaks JSON lines; ``params.do`` says how it behaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any


def main() -> None:
    """Answers one line after the other until the input ends."""
    for served, line in enumerate(sys.stdin, 1):
        act(json.loads(line), served)
    if os.environ.get("LEAVE"):
        with open(os.environ["LEAVE"], "a") as trace:
            trace.write("ended by itself\n")


def act(asked: dict[str, Any], served: int) -> None:
    """One answer, or a way of having none."""
    params = asked["params"]
    do = params.get("do", "echo")
    if do == "echo":
        seen = {name: os.environ.get(name) for name in params.get("env", [])}
        result = {"asked": asked, "pid": os.getpid(), "served": served, "env": seen, "folder": os.getcwd()}
        say(asked, result=result, usage={"seconds": 2.5, "input_tokens": 3, "images": -1}, model="m-1")
    elif do == "fail":
        say(asked, error=params["error"])
    elif do == "raw":
        print(params["text"], flush=True)
    elif do == "crash":
        sys.stderr.write("x" * 100_000 + "\n" + "key is " + os.environ.get("KEY", "none") + ": out of luck\n")
        sys.exit(3)
    elif do == "late":
        say({"id": "an older one"}, result={"stale": True})
        say(asked, result={"stale": False})
    elif do == "noise":
        sys.stderr.write("chatter\n" * 50_000)
        say(asked, result={"ok": True})
    elif do == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(params["pids"], "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        os.rename(params["pids"], params["pids"] + ".done")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    elif do == "sleep":
        time.sleep(600)
    elif do == "flood":
        while True:
            sys.stdout.write("x" * 65_536)


def say(asked: dict[str, Any], **told: Any) -> None:
    print(json.dumps({"id": asked["id"], **told}), flush=True)


if __name__ == "__main__":
    main()
