"""Find the API key where the settings say. A configuration can be shown, a key never."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ninepic_mirror.errors import ConfigError, Problem
from ninepic_mirror.model import Key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ninepic_mirror.config.settings import Api

KEY_VARIABLE: Final = "NINEPIC_API_KEY"
CREDENTIAL: Final = "ninepic-api-key"  # the name given to systemd's LoadCredential=
COMMAND_SECONDS: Final = 30  # a password manager that asks a person for more has been forgotten


def find_key(
    api: Api, environ: Mapping[str, str], *, limit: float = COMMAND_SECONDS
) -> tuple[Key, tuple[str, ...]]:
    """Find the API key: variable, systemd credential, `key_file` or `key_command`, in this order.

    A key file that others can read or write, or the group can write, is refused; one that the group
    can read is taken with a warning, because `root:ninepic 0640` is how a service is often given
    it. Blocks while `key_command` runs, for at most `limit` seconds.

    Returns:
        The key, and warnings for people, one line each.

    Raises:
        ConfigError: There is no key, or it cannot be used. The text never contains any of it.
    """
    if environ.get(KEY_VARIABLE, "").strip():
        return _checked(environ[KEY_VARIABLE], f"${KEY_VARIABLE}"), ()
    credential = Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent", CREDENTIAL)
    # A variable inherited from a service of another user names a folder that is closed: as if
    # absent.
    if os.access(credential, os.F_OK):
        # systemd guards its credentials itself; under some managers their mode says less than that.
        return _checked(_read_key(credential)[0], str(credential), is_credential=True), ()
    if api.key_file:
        text, mode = _read_key(api.key_file)
        return _checked(text, str(api.key_file)), _examine_mode(api.key_file, mode)
    if api.key_command:
        return _checked(_run(api.key_command, environ, limit), "key_command"), ()
    raise _key_error(
        "api.key_file", "there is no API key", f"set ${KEY_VARIABLE}, or name a key_file"
    )


def _key_error(where: str, text: str, cure: str) -> ConfigError:
    return ConfigError((Problem(where, "", text, cure),))


def _checked(text: str, source: str, *, is_credential: bool = False) -> Key:
    secret = text.strip()
    # Only what can stand in one header line; 4096 is far above any key and far below a header's
    # limit.
    if not re.fullmatch(r"[!-~]{1,4096}", secret):
        fault = "is empty" if not secret else "is too long"
        if len(secret.split()) > 1:
            fault = "holds more than one word"
        elif not re.fullmatch(r"[!-~]*", secret):
            fault = "holds characters that no key has (anything but printable ASCII)"
        raise _key_error(
            source, f"{fault}, so it is no API key", "put the key there and nothing else"
        )
    return Key(secret, source, is_credential=is_credential)


def _read_key(path: Path) -> tuple[str, int]:
    """Return the text of a key file and its mode, both of the one open file."""
    try:
        # O_NONBLOCK: a named pipe must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise _key_error(str(path), "is no regular file", "name a file that holds the key")
            return file.read(10_000).decode("latin-1"), mode
    except OSError as error:
        cure = "make it readable for this user, or name another key_file"
        raise _key_error(str(path), f"cannot be read: {error.strerror}", cure) from error


def _examine_mode(path: Path, mode: int) -> tuple[str, ...]:
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        text = f"is open to other users (mode {stat.S_IMODE(mode):04o})"
        raise _key_error(str(path), text, f"chmod 600 {path}")
    if mode & stat.S_IRGRP:
        return (f"{path}: the group can read the API key; chmod 600 unless that is meant",)
    return ()


def _run(command: Sequence[str], environ: Mapping[str, str], limit: float) -> str:
    """Return what `key_command` prints. No shell; its complaints go to our standard error."""
    surroundings = {name: value for name, value in environ.items() if name != KEY_VARIABLE}
    cure = f"run it by hand: {command[0]} must print the key and exit with 0"
    try:
        done = subprocess.run(  # noqa: S603  the operator's own command, and no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=surroundings,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        # `from None` here and below: these errors carry the command's output, which may be the key.
        raise _key_error("key_command", f"took longer than {limit:g} s", cure) from None
    except subprocess.CalledProcessError as error:
        raise _key_error("key_command", f"ended with exit code {error.returncode}", cure) from None
    except (OSError, ValueError) as error:
        raise _key_error("key_command", f"cannot be run: {error}", cure) from None
    return done.stdout.decode("latin-1")
