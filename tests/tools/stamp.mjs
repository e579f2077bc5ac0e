/**
 * A number in a picture that survives every codec: 8 by 4 black or white blocks in the upper left, 24 bits of value and 8 of
 * checksum, the most significant first. Used by the generator (node), by the readers of ffmpeg's output (node) and by test pages
 * (browser); so nothing here names either.
 *
 * A wrong or missing picture is told by the checksum, a frozen one by a value that does not grow.
 */

/** Where the blocks lie, as parts of the picture's width and height. */
export const GRID = { columns: 8, rows: 4, left: 0.05, top: 0.05, width: 0.6, height: 0.3 }

const VALUE_BITS = 24
const BLOCKS = GRID.columns * GRID.rows

/** The stamp that says what time it is: the low 24 bits of Unix time in milliseconds; it wraps after 4.6 hours. */
export const clockStamp = () => Date.now() % 2 ** VALUE_BITS

/** How long ago a clock stamp was made, in milliseconds. @param {number} value */
export const ageMs = (value) => (clockStamp() - value + 2 ** VALUE_BITS) % 2 ** VALUE_BITS

/** @param {number} value */
const checksum = (value) => ((value >> 16) ^ (value >> 8) ^ value ^ 0xa5) & 0xff

/**
 * The blocks to draw.
 * @param {number} value  0 to 2^24 - 1
 * @param {number} width  of the picture, in pixels
 * @param {number} height
 * @returns {{ x: number, y: number, width: number, height: number, isWhite: boolean }[]}
 */
export function blocks(value, width, height) {
  const word = value * 256 + checksum(value)
  const blockWidth = Math.floor((width * GRID.width) / GRID.columns)
  const blockHeight = Math.floor((height * GRID.height) / GRID.rows)
  return Array.from({ length: BLOCKS }, (_, n) => ({
    x: Math.round(width * GRID.left) + (n % GRID.columns) * blockWidth,
    y: Math.round(height * GRID.top) + Math.floor(n / GRID.columns) * blockHeight,
    width: blockWidth,
    height: blockHeight,
    isWhite: Math.floor(word / 2 ** (BLOCKS - 1 - n)) % 2 === 1,
  }))
}

/**
 * Reads a stamp.
 * @param {(x: number, y: number) => number} brightness  0 to 255, at a pixel
 * @param {number} width @param {number} height
 * @returns {number | null} null if this is not a stamped picture, or too spoilt a one
 */
export function readStamp(brightness, width, height) {
  let word = 0
  for (let n = 0; n < BLOCKS; n++) {
    const x = width * (GRID.left + ((n % GRID.columns) + 0.5) * (GRID.width / GRID.columns))
    const y = height * (GRID.top + (Math.floor(n / GRID.columns) + 0.5) * (GRID.height / GRID.rows))
    word = word * 2 + (brightness(Math.floor(x), Math.floor(y)) > 128 ? 1 : 0)
  }
  const value = Math.floor(word / 256)
  return checksum(value) === word % 256 ? value : null
}
