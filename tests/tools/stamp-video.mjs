#!/usr/bin/env node
/**
 * Stamped video for ffmpeg, as raw yuv420p on standard output.
 *
 * usage: stamp-video.mjs WIDTH HEIGHT FPS SECONDS [clock|frame|paced] [U V]
 *   clock  the stamp is the time at which the picture was made; pictures come in real time (default)
 *   frame  the stamp counts pictures; they come as fast as they are read
 *   paced  the stamp counts pictures; they come in real time
 *   U V    the colour of the whole picture, 0 to 255 each (default 90 160), to tell publishers apart
 */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'

import { blocks, clockStamp } from './stamp.mjs'

const [width, height, fps, seconds] = process.argv.slice(2, 6).map(Number)
const [mode = 'clock', u = '90', v = '160'] = process.argv.slice(6)
if (!(width > 0 && height > 0 && fps > 0 && seconds > 0) || !['clock', 'frame', 'paced'].includes(mode)) {
  console.error('usage: stamp-video.mjs WIDTH HEIGHT FPS SECONDS [clock|frame|paced] [U V]')
  process.exit(2)
}
process.stdout.on('error', () => process.exit(0)) // the reader has seen enough

const chroma = [Buffer.alloc((width * height) / 4, Number(u)), Buffer.alloc((width * height) / 4, Number(v))]
const luma = Buffer.alloc(width * height)
const start = Date.now()
for (let n = 0; n < fps * seconds; n++) {
  if (mode !== 'frame') await delay(Math.max(0, start + (n * 1000) / fps - Date.now()))
  // A gradient that rolls, so that the encoder has something to do.
  for (let row = 0; row < height; row++) luma.fill(60 + ((row + n * 3) % 120), row * width, (row + 1) * width)
  for (const block of blocks(mode === 'clock' ? clockStamp() : n, width, height))
    for (let row = block.y; row < block.y + block.height; row++)
      luma.fill(block.isWhite ? 235 : 16, row * width + block.x, row * width + block.x + block.width)
  // A copy, because what was written may still lie in the queue when the next picture is drawn.
  if (!process.stdout.write(Buffer.concat([luma, ...chroma]))) await once(process.stdout, 'drain')
}
