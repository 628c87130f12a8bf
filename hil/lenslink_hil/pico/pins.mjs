// placeholder
export class Pins {}
