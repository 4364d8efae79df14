"""Runs a program under the seccomp filters that systemd would build of a unit.

    filtered.py UNIT PROGRAM [ARGUMENT...]

Understands what the units of systemd/ have: SystemCallFilter= as allow lists (groups are expanded by
`systemd-analyze syscall-filter`), SystemCallErrorNumber=, SystemCallArchitectures=native,
MemoryDenyWriteExecute=, RestrictAddressFamilies=, RestrictNamespaces=, RestrictRealtime=,
RestrictSUIDSGID= and LockPersonality=, each a filter of its own, as systemd has them
(src/shared/seccomp-util.c). A line of a kind that it does not know is an error: what is not enforced
must not seem to be. Python itself runs under none of it; the program has it from its first instruction.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys

import seccomp
from seccomp import EQ, MASKED_EQ, NE, ALLOW, ERRNO, Arg, Attr, SyscallFilter

PR_SET_NO_NEW_PRIVS = 38
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
S_ISUID, S_ISGID, O_CREAT, AT_PERSONALITY = 0o4000, 0o2000, 0o100, 0xFFFFFFFF
# CLONE_NEW*: cgroup, uts, ipc, user, pid, net, mount, time.
NAMESPACES = [0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x20000, 0x80]
SCHED_OTHER, SCHED_BATCH, SCHED_IDLE = 0, 3, 5


def settings(unit):
    """Every setting of the unit as name and value, in order."""
    with open(unit, encoding="utf-8") as lines:
        for line in lines:
            line = line.strip()
            if line and line[0] not in "#;[":
                name, _, value = line.partition("=")
                yield name, value


def group(name):
    """The calls of a group, groups in it expanded."""
    ran = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        check=True, capture_output=True, text=True,
    )
    for word in ran.stdout.split("\n"):
        word = word.strip()
        if not word or word == name or word.startswith("#"):
            continue
        yield from group(word) if word.startswith("@") else [word]


def number(call):
    """The call's number on this machine; none where it has no such call."""
    try:
        found = seccomp.resolve_syscall(seccomp.Arch.NATIVE, call)
    except ValueError:
        return None
    return found if found >= 0 else None


def allowed(lists, otherwise):
    """The allow list: @default, which systemd adds, and what the lines name."""
    filtered = SyscallFilter(ERRNO(otherwise))
    calls = set(group("@default"))
    for word in " ".join(lists).split():
        if word.startswith("~"):
            sys.exit(f"filtered.py: a deny list is not understood: {word}")
        described = group(word) if word.startswith("@") else [word]
        calls.update(described)
    for call in sorted(calls):
        if number(call) is not None:
            filtered.add_rule(ALLOW, call)
    return filtered


def denied(*rules):
    """A filter that lets everything pass but these: what to answer, the call, its arguments."""
    filtered = SyscallFilter(ALLOW)
    for action, call, *arguments in rules:
        if number(call) is not None:
            filtered.add_rule_exactly(action, call, *arguments)
    return filtered


def write_xor_execute():
    both, eperm = PROT_WRITE | PROT_EXEC, ERRNO(errno.EPERM)
    return denied(
        (eperm, "mmap", Arg(2, MASKED_EQ, both, both)),
        (eperm, "mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC)),
        (eperm, "pkey_mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC)),
        (eperm, "shmat", Arg(2, MASKED_EQ, SHM_EXEC, SHM_EXEC)),
    )


def families(words):
    known = {int(getattr(socket, word)) for word in words}
    no = ERRNO(errno.EAFNOSUPPORT)
    # Rules of one call cannot say "none of these", so each other family is denied by its number.
    others = [family for family in range(64) if family not in known]
    return denied(*((no, "socket", Arg(0, EQ, family)) for family in others))


def no_namespaces():
    eperm, enosys = ERRNO(errno.EPERM), ERRNO(errno.ENOSYS)
    rules = [(enosys, "clone3"), (eperm, "setns")]
    for flag in NAMESPACES:
        rules += [(eperm, call, Arg(0, MASKED_EQ, flag, flag)) for call in ("clone", "unshare")]
    return denied(*rules)


def no_realtime():
    policies = [p for p in range(16) if p not in (SCHED_OTHER, SCHED_BATCH, SCHED_IDLE)]
    eperm = ERRNO(errno.EPERM)
    return denied(*((eperm, "sched_setscheduler", Arg(1, EQ, policy)) for policy in policies))


def no_set_id():
    eperm, rules = ERRNO(errno.EPERM), [(ERRNO(errno.ENOSYS), "openat2")]
    for bit in (S_ISUID, S_ISGID):
        for call, mode in [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1),
                           ("mkdirat", 2), ("mknod", 1), ("mknodat", 2), ("creat", 1)]:
            rules.append((eperm, call, Arg(mode, MASKED_EQ, bit, bit)))
        for call, flags, mode in [("open", 1, 2), ("openat", 2, 3)]:
            made = Arg(flags, MASKED_EQ, O_CREAT, O_CREAT)
            rules.append((eperm, call, made, Arg(mode, MASKED_EQ, bit, bit)))
    return denied(*rules)


def no_personality():
    return denied((ERRNO(errno.EPERM), "personality", Arg(0, NE, AT_PERSONALITY)))


WITHOUT_ARGUMENTS = {
    "MemoryDenyWriteExecute": write_xor_execute,
    "RestrictNamespaces": no_namespaces,
    "RestrictRealtime": no_realtime,
    "RestrictSUIDSGID": no_set_id,
    "LockPersonality": no_personality,
}


def filters(unit):
    lists, otherwise = [], None
    for name, value in settings(unit):
        if name == "SystemCallFilter":
            lists.append(value)
        elif name == "SystemCallErrorNumber":
            otherwise = getattr(errno, value)
        elif name == "SystemCallArchitectures":
            # Which is what a filter of the library has: another one kills.
            assert value == "native", value
        elif name == "RestrictAddressFamilies":
            yield families(value.split())
        elif name in WITHOUT_ARGUMENTS:
            assert value == "yes", (name, value)
            yield WITHOUT_ARGUMENTS[name]()
        elif name.startswith(("Restrict", "SystemCall", "Lock", "Memory")) and name not in (
            "MemoryMax",
        ) and not name.startswith("Restart"):
            sys.exit(f"filtered.py: {name}= is not understood")
    if not lists or otherwise is None:
        sys.exit("filtered.py: the unit has no SystemCallFilter= or SystemCallErrorNumber=")
    # The last, since what loads filters is not on it.
    yield allowed(lists, otherwise)


def main():
    unit, program = sys.argv[1], sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit(f"filtered.py: no_new_privs: {os.strerror(ctypes.get_errno())}")
    made = list(filters(unit))
    for filtered in made:
        filtered.set_attr(Attr.CTL_NNP, 1)
    for filtered in made:
        filtered.load()
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
