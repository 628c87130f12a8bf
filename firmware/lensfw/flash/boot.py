# A LensLink module. Its plain MicroPython comes back with the guard pin held low: see lensfw/boot.py.
import lensfw.boot

lensfw.boot.start()
