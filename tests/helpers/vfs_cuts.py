"""Cut the supply at each operation of an update on MicroPython's own file system, VfsLfs2.

``vfs_cuts.py FILE STEP``: FILE is JSON. ``base`` and ``update`` are calls that write, rename and
remove files, as lenslink_hil.flash.update makes them; ``kinds`` are the files of each firmware, by
name. Each STEP-th operation is cut. Prints a line of JSON: operations, cuts, and how often each
firmware was found.
"""

import binascii
import json
import sys

import vfs

BLOCK_BYTES = 4096
BLOCKS = 64
EIO = -5


class Flash:
    def __init__(self, content=None):
        self.content = content or bytearray(b"\xff" * BLOCK_BYTES * BLOCKS)
        self.left = -1
        self.count = 0

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK_BYTES + offset
        buffer[:] = self.content[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        self.count += 1
        if self.left == 0:
            return EIO
        self.left -= 1
        at = block * BLOCK_BYTES + offset
        self.content[at : at + len(buffer)] = buffer
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return BLOCK_BYTES
        if operation == 6:
            return self.writeblocks(argument, b"\xff" * BLOCK_BYTES)
        return 0


def mount(flash):
    return vfs.VfsLfs2(flash, progsize=256, readsize=256)


def apply(files, calls):
    for name, path, value in calls:
        if name == "write":
            folders = path.split("/")[:-1]
            for number in range(len(folders)):
                try:
                    files.mkdir("/".join(folders[: number + 1]))
                except OSError as error:
                    if error.errno != 17:
                        raise
            with files.open(path, "wb") as file:
                file.write(binascii.a2b_base64(value))
        elif name == "rename":
            files.rename(path, value)
        else:
            files.remove(path)


def read(files, path):
    try:
        with files.open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def classify(files, kinds):
    marker = json.loads(read(files, "lensboot.json"))
    for kind, contents in kinds.items():
        found = {name: read(files, marker["slot"] + "/" + name) for name in contents}
        if all(found[name] == binascii.a2b_base64(contents[name]) for name in contents):
            return kind
    return "mixture"


def main(path, step):
    with open(path) as file:
        task = json.load(file)
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash, progsize=256, readsize=256)
    apply(mount(flash), task["base"])
    base = bytes(flash.content)
    flash = Flash(bytearray(base))
    files = mount(flash)
    flash.count = 0
    apply(files, task["update"])
    total = flash.count
    found = {}
    cuts = 0
    for operation in range(0, total + 1, step):
        flash = Flash(bytearray(base))
        files = mount(flash)
        flash.left = operation
        try:
            apply(files, task["update"])
        except OSError:
            pass
        kind = classify(mount(Flash(flash.content)), task["kinds"])
        found[kind] = found.get(kind, 0) + 1
        cuts += 1
    print(json.dumps([total, cuts, found]))


main(sys.argv[1], int(sys.argv[2]))
