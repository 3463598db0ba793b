"""Compares the directives that upclose and crossplane find, a file each; exit code 1 on a difference."""

import subprocess
import sys
import tempfile

import crossplane


def flat(block, depth, out):
    for directive in block:
        if directive["directive"] in ("#", "include"):
            continue
        words = [directive["directive"], *directive["args"]]
        out.append((depth, directive["line"], bare([unescaped(word) for word in words])))
        flat(directive.get("block") or [], depth + 1, out)
    return out


def bare(words):
    """A condition without its brackets, which crossplane takes off."""
    if words[0] != "if" or len(words) < 2:
        return words
    words = [words[0], words[1].removeprefix("("), *words[2:]]
    words[-1] = words[-1].removesuffix(")")
    return [word for word in words if word]


def unescaped(word):
    """crossplane keeps the backslashes that nginx takes off before quotes, and of controls."""
    result, position = "", 0
    while position < len(word):
        two = word[position : position + 2]
        if len(two) == 2 and two[0] == "\\" and two[1] in "\"'\\trn":
            result += {"t": "\t", "r": "\r", "n": "\n"}.get(two[1], two[1])
            position += 2
        else:
            result += word[position]
            position += 1
    return result


def theirs(path):
    payload = crossplane.parse(path, combine=True, check_ctx=False, check_args=False)
    errors = [error for config in payload["config"] for error in config["errors"]]
    if errors:
        return None, "; ".join(str(error["error"]) for error in errors)
    return flat(payload["config"][0]["parsed"], 0, []), None


def ours(reader, path):
    text = subprocess.run([reader, "configuration", path], capture_output=True, check=True).stdout
    out = []
    for line in text.decode().splitlines():
        if line.startswith("error "):
            return None, line[6:]
        depth, number, _, words = line.split(" ", 3)
        decoded = [eval(word.replace("\\u{1F}", "\\x1f").replace("\\0", "\\x00"))
                   for word in words.split("\x1f")]
        out.append((int(depth), int(number), bare(decoded)))
    return out, None


def nginx_refuses(path):
    """What nginx -t says of the syntax; None when it takes it."""
    with tempfile.TemporaryDirectory() as directory:
        options = f"pid {directory}/pid; error_log {directory}/error.log;"
        result = subprocess.run(
            ["nginx", "-t", "-c", path, "-g", options], capture_output=True, check=False
        )
    emerg = [line for line in result.stderr.decode().splitlines() if "[emerg]" in line]
    return emerg[0].split(": ", 1)[1] if emerg and "unexpected" in emerg[0] else None


def main():
    reader, bad = sys.argv[1], 0
    for path in sys.argv[2:]:
        a, error_a = ours(reader, path)
        b, error_b = theirs(path)
        if (a is None) != (b is None):
            said = f"upclose {error_a or 'reads it'}; crossplane {error_b or 'reads it'}"
            refused = nginx_refuses(path)
            if (a is None) == (refused is not None):
                print(f"nginx agrees with upclose, {path}: {said}; nginx {refused or 'finds no fault in the syntax'}")
                continue
            bad += 1
            print(f"DIFFER {path}: {said}; nginx {refused or 'finds no fault in the syntax'}")
        elif a is None:
            print(f"agree  {path}: both refuse it: {error_a}")
        elif [(d, w) for d, _, w in a] != [(d, w) for d, _, w in b]:
            bad += 1
            for x, y in zip(a, b):
                if (x[0], x[2]) != (y[0], y[2]):
                    print(f"DIFFER {path}: upclose {x}; crossplane {y}")
                    break
            else:
                print(f"DIFFER {path}: {len(a)} directives against {len(b)}")
        else:
            lines = sum(x[1] != y[1] for x, y in zip(a, b))
            print(f"agree  {path}: {len(a)} directives" + (f", {lines} on other lines" if lines else ""))
    return 1 if bad else 0


sys.exit(main())
