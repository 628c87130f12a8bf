import lensfw.boot

lensfw.boot.serve()
