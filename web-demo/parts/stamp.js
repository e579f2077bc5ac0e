/**
 * Reads the stamp of the test stream's pictures: the row of 16 blocks at their lower edge, which says when the picture was sent
 * (make-clip.sh draws it; the server keeps the clip's rounds to Unix time).
 */

/** How long a round of the clip takes, and each of its pictures, in milliseconds. */
export const ROUND_MS = 16_000
const PICTURE_MS = 40

const BLOCKS = 16
/** Where the row lies, as parts of the picture's height; a quarter of it is left out above and below, where codecs smear. */
const TOP = 348 / 360
const HEIGHT = 8 / 360
/** Black and white must be at least this far apart, of 255, or there are no blocks. */
const CONTRAST_MIN = 60

/** Reads stamps from one video; it keeps its canvas. */
export class StampReader {
  #context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(BLOCKS, 1).getContext('2d', { willReadFrequently: true }))

  /** The stamp of the picture that a video shows. @param {HTMLVideoElement} video @returns {number | null} see `readStamp` */
  read(video) {
    const { videoWidth: width, videoHeight: height } = video
    if (width === 0) return null
    this.#context.drawImage(video, 0, height * TOP, width, height * HEIGHT, 0, 0, BLOCKS, 1)
    const { data } = this.#context.getImageData(0, 0, BLOCKS, 1)
    return readStamp(Array.from({ length: BLOCKS }, (_, block) => data[4 * block + 1]))
  }
}

/**
 * @param {number[]} brightness  of the 16 blocks, 0 to 255
 * @returns {number | null} when the picture was due in its round, 0 to 15 960 ms; null if these are no blocks. One in two hundred
 *   other pictures looks like a stamp, so one alone proves nothing
 */
export function readStamp([white, black, ...rest]) {
  if (white - black < CONTRAST_MIN) return null
  const middle = (white + black) / 2
  const word = rest.reduce((word, block) => 2 * word + (block > middle ? 1 : 0), 0)
  const [number, checksum] = [word >> 5, word & 31]
  const isRight = checksum === (7 * number + 13) % 31 && number * PICTURE_MS < ROUND_MS
  return isRight ? number * PICTURE_MS : null
}
