/**
 * A publisher's FLV to RTP, without a server: what a page would get if it could be handed pictures and sound as they leave the
 * publisher.
 *
 * Pictures (H.264) are cut as RFC 6184 says. No page takes AAC by RTP, so each access unit is stood in for by the Opus packets that
 * begin within it, made beforehand: they come when it comes, and waiting for codecs is not in them.
 */

import { spawnSync } from 'node:child_process'

const PAYLOAD_BYTES = 1160
const KEY = 5
const OPUS_SAMPLES = 960
const AAC_SAMPLES = 1024
/** Seconds between the eras of NTP and Unix. */
const NTP_UNIX = 2_208_988_800

/** One FLV stream to packets of two tracks, whose timestamps count from one moment. */
export class FlvToRtp {
  #rest = Buffer.alloc(0)
  #at = 13 // behind the file's header
  /** Of each track: sequence number. */ #seq = { video: 0, audio: 0 }
  /** @type {Buffer[]} */ #sets = []
  /** Where the next Opus packet begins, and the next access unit, in samples. */ #opus = -1
  #unit = 0
  /** When the clock of the stream showed 0, on that of Unix, in milliseconds. @type {number | undefined} */ #zero
  #tone

  /** @param {(kind: 'video' | 'audio', packet: Buffer) => void} send  @param {number} toneHz  of the sound, a multiple of 50 */
  constructor(send, toneHz) {
    this.send = send
    this.#tone = opusTone(toneHz)
  }

  /** Takes what came of a file of AAC at 48 kHz and H.264, or of one of them. @param {Buffer} data */
  push(data) {
    this.#rest = Buffer.concat([this.#rest, data])
    for (;;) {
      const [rest, at] = [this.#rest, this.#at]
      if (rest.length < at + 11 || rest.length < at + 15 + rest.readUIntBE(at + 1, 3)) return
      const end = at + 11 + rest.readUIntBE(at + 1, 3)
      this.#tag(rest[at], rest.readUIntBE(at + 4, 3) + rest[at + 7] * 2 ** 24, rest.subarray(at + 11, end))
      this.#rest = rest.subarray(end + 4)
      this.#at = 0
    }
  }

  /** What a sender report says now: NTP time, and the timestamp of a clock of `rate` Hz. @param {number} rate */
  clock(rate) {
    const now = Date.now()
    const ntp = (BigInt(Math.floor(now / 1000) + NTP_UNIX) << 32n) | BigInt(Math.floor(((now % 1000) / 1000) * 2 ** 32))
    return { ntp, timestamp: Math.round(((now - (this.#zero ?? now)) * rate) / 1000) >>> 0 }
  }

  /** @param {number} kind @param {number} ms @param {Buffer} body */
  #tag(kind, ms, body) {
    const isHeader = body[1] === 0
    if (kind !== 8 && kind !== 9) return
    this.#zero ??= Date.now() - ms
    if (kind === 8 && !isHeader) this.#sound(ms)
    if (kind === 9 && isHeader) this.#sets = parameterSets(body.subarray(5))
    if (kind === 9 && body[1] === 1) this.#picture(ms, body.subarray(5))
  }

  /** @param {number} ms */
  #sound(ms) {
    if (this.#opus < 0) this.#opus = this.#unit = ms * 48
    // Milliseconds are rounded; access units follow on one another to the sample.
    for (this.#unit += AAC_SAMPLES; this.#opus < this.#unit; this.#opus += OPUS_SAMPLES)
      this.#rtp('audio', 111, true, this.#opus, this.#tone[this.#seq.audio % this.#tone.length])
  }

  /** @param {number} ms @param {Buffer} sized  NAL units, each behind its length */
  #picture(ms, sized) {
    const units = []
    for (let at = 0; at + 4 <= sized.length; at += 4 + sized.readUInt32BE(at)) units.push(sized.subarray(at + 4, at + 4 + sized.readUInt32BE(at)))
    if (units.some((unit) => (unit[0] & 31) === KEY)) units.unshift(...this.#sets)
    const payloads = units.flatMap(fragments)
    payloads.forEach((payload, n) => this.#rtp('video', 102, n === payloads.length - 1, ms * 90, payload))
  }

  /** @param {'video' | 'audio'} kind @param {number} payloadType @param {boolean} marker @param {number} timestamp @param {Buffer} payload */
  #rtp(kind, payloadType, marker, timestamp, payload) {
    const head = Buffer.alloc(12)
    head[0] = 0x80
    head[1] = payloadType | (marker ? 0x80 : 0)
    head.writeUInt16BE(this.#seq[kind]++ & 0xffff, 2)
    head.writeUInt32BE(timestamp >>> 0, 4)
    this.send(kind, Buffer.concat([head, payload]))
  }
}

/** Payloads of one NAL unit: itself, or FU-A parts. @param {Buffer} unit */
function fragments(unit) {
  if (unit.length <= PAYLOAD_BYTES) return [unit]
  const parts = []
  for (let at = 1; at < unit.length; at += PAYLOAD_BYTES - 2) {
    const data = unit.subarray(at, at + PAYLOAD_BYTES - 2)
    const edge = (at === 1 ? 0x80 : 0) | (at + data.length === unit.length ? 0x40 : 0)
    parts.push(Buffer.concat([Buffer.from([(unit[0] & 0xe0) | 28, edge | (unit[0] & 31)]), data]))
  }
  return parts
}

/** Those of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.2.4.1). @param {Buffer} record */
function parameterSets(record) {
  const sets = []
  let at = 5
  for (const mask of [31, 255])
    for (let count = record[at++] & mask; count > 0; count--) {
      const length = record.readUInt16BE(at)
      sets.push(record.subarray(at + 2, at + 2 + length))
      at += 2 + length
    }
  return sets
}

/** A second of a tone in Opus packets of 20 ms, which may be sent over and over. @param {number} hz */
function opusTone(hz) {
  const tone = ['-f', 'lavfi', '-i', `sine=frequency=${hz}:sample_rate=48000:duration=1.4`, '-c:a', 'libopus', '-b:a', '96k', '-ac', '2', '-f', 'ogg', 'pipe:1']
  const { stdout } = spawnSync('ffmpeg', ['-v', 'error', '-nostdin', ...tone])
  const packets = []
  let packet = []
  // RFC 3533 §6: pages, each with the lengths of its segments; one shorter than 255 ends a packet.
  for (let at = 0; at < stdout.length; ) {
    const lengths = stdout.subarray(at + 27, at + 27 + stdout[at + 26])
    at += 27 + lengths.length
    for (const length of lengths) {
      packet.push(stdout.subarray(at, at + length))
      at += length
      if (length === 255) continue
      packets.push(Buffer.concat(packet))
      packet = []
    }
  }
  // Behind two headers, and behind the start of the sound.
  return packets.slice(12, 62)
}
