/** VP8, VP9, AV1 and H.265 between files that ffmpeg 5 reads and writes, and tags of Enhanced RTMP, which it does not know yet. */

const IVF_HEAD_BYTES = 32
const IVF_FRAME_BYTES = 12
const KEY = 1
const INTER = 2
const SEQUENCE_START = 0
const CODED_FRAMES = 1
const CODED_FRAMES_X = 3

/** By FourCC: IVF's name for the codec, what describes it (first profile, 8 bits), and whether a decoder can start at a frame. */
const CODECS = {
  vp08: { ivf: 'VP80', record: Buffer.from([1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0]), isKey: (/** @type {Buffer} */ frame) => (frame[0] & 1) === 0 },
  // Frame marker 2, profile, not a repetition, a key frame.
  vp09: { ivf: 'VP90', record: Buffer.from([1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0]), isKey: (/** @type {Buffer} */ frame) => (frame[0] & 0b1100_1100) === 0b1000_0000 },
  // A temporal delimiter, and a sequence header behind it.
  av01: { ivf: 'AV01', record: Buffer.from([0x81, 0x05, 0x0c, 0x00]), isKey: (/** @type {Buffer} */ frame) => ((frame[2] >> 3) & 15) === 1 },
}

/**
 * Sends the frames of an IVF file as they come; resolves when it ends.
 * @param {import('./rtmp-push.mjs').RtmpPush} push @param {import('node:stream').Readable} ivf @param {keyof typeof CODECS} name
 */
export async function pushIvf(push, ivf, name) {
  const { record, isKey } = CODECS[name]
  let rest = Buffer.alloc(0)
  let at = IVF_HEAD_BYTES
  let msPerUnit = 0
  for await (const data of ivf) {
    rest = Buffer.concat([rest, data])
    if (msPerUnit === 0 && rest.length >= IVF_HEAD_BYTES) {
      msPerUnit = (1000 * rest.readUInt32LE(20)) / rest.readUInt32LE(16)
      await push.tag(9, 0, tagOf(name, KEY, SEQUENCE_START, record))
    }
    while (rest.length >= at + IVF_FRAME_BYTES && rest.length >= at + IVF_FRAME_BYTES + rest.readUInt32LE(at)) {
      const frame = rest.subarray(at + IVF_FRAME_BYTES, at + IVF_FRAME_BYTES + rest.readUInt32LE(at))
      await push.tag(9, Math.round(Number(rest.readBigUInt64LE(at + 4)) * msPerUnit), tagOf(name, isKey(frame) ? KEY : INTER, CODED_FRAMES, frame))
      rest = rest.subarray(at + IVF_FRAME_BYTES + frame.length)
      at = 0
    }
  }
}

/** The payload of a video tag. @param {string} name @param {number} frame @param {number} packet @param {Buffer} data */
const tagOf = (name, frame, packet, data) => Buffer.concat([Buffer.from([0x80 | (frame << 4) | packet]), Buffer.from(name), data])

/** The tags of FLV. @param {AsyncIterable<Uint8Array>} flv */
export async function* tagsOfFlv(flv) {
  let rest = Buffer.alloc(0)
  let at = 13 // behind the file's header
  for await (const data of flv) {
    rest = Buffer.concat([rest, data])
    while (rest.length >= at + 11 && rest.length >= at + 15 + rest.readUIntBE(at + 1, 3)) {
      const kind = rest[at]
      const ms = rest.readUIntBE(at + 4, 3) + rest[at + 7] * 2 ** 24
      const payload = rest.subarray(at + 11, at + 11 + rest.readUIntBE(at + 1, 3))
      rest = rest.subarray(at + 15 + payload.length)
      at = 0
      yield { kind, ms, payload }
    }
  }
}

/**
 * What the video tags of FLV carry, all of one codec in its enhanced form.
 * @param {AsyncIterable<Uint8Array>} flv @param {string} name  what it must carry
 */
async function* enhancedVideo(flv, name) {
  for await (const { kind, ms, payload } of tagsOfFlv(flv)) {
    // The end of a stream is said in the classic form, whatever it carried.
    if (kind !== 9 || (payload[0] === 0x17 && payload[1] === 2)) continue
    const fourCC = payload.toString('latin1', 1, 5)
    if (!(payload[0] & 0x80) || fourCC !== name) throw new Error(`a tag of ${fourCC} where ${name} is due`)
    yield { ms, packet: payload[0] & 15, key: ((payload[0] >> 4) & 7) === KEY, data: payload.subarray(5) }
  }
}

/**
 * The frames of FLV as IVF, from the first key frame on.
 * @param {AsyncIterable<Uint8Array>} flv @param {keyof typeof CODECS} name  what it must carry
 */
export async function* ivfOfFlv(flv, name) {
  const { ivf, isKey } = CODECS[name]
  let started = false
  for await (const { ms, packet, key, data } of enhancedVideo(flv, name)) {
    if (packet === SEQUENCE_START) continue
    if (key && !started) {
      // In FLV AV1 has no temporal delimiter, by which it would be told in IVF.
      if (!isKey(data) && name !== 'av01') throw new Error('what is said to be a key frame is none')
      started = true
      yield ivfHead(ivf)
    }
    if (started) yield Buffer.concat([frameHead(data.length, ms), data])
  }
}

/**
 * The pictures of FLV with H.265 as a stream of units behind start codes, the parameter sets of the record before the first.
 * @param {AsyncIterable<Uint8Array>} flv
 */
export async function* hevcOfFlv(flv) {
  for await (const { packet, data } of enhancedVideo(flv, 'hvc1')) {
    if (packet === SEQUENCE_START) yield* setsOf(data)
    else if (packet === CODED_FRAMES_X) yield* unitsOf(data, 4)
    else throw new Error(`a tag of kind ${packet}`)
  }
}

const START_CODE = Buffer.from([0, 0, 0, 1])

/** What stands behind lengths, behind start codes. @param {Buffer} data @param {number} bytes  of a length */
function* unitsOf(data, bytes) {
  for (let at = 0; at < data.length; at += bytes + data.readUIntBE(at, bytes)) yield Buffer.concat([START_CODE, data.subarray(at + bytes, at + bytes + data.readUIntBE(at, bytes))])
}

/** The parameter sets of a HEVCDecoderConfigurationRecord. @param {Buffer} record */
function* setsOf(record) {
  let at = 23
  for (let array = 0; array < record[22]; array++) {
    let end = at + 3
    for (let set = 0; set < record.readUInt16BE(at + 1); set++) end += 2 + record.readUInt16BE(end)
    yield* unitsOf(record.subarray(at + 3, end), 2)
    at = end
  }
}

/** For time in milliseconds. @param {string} codec */
function ivfHead(codec) {
  const head = Buffer.alloc(IVF_HEAD_BYTES)
  head.write('DKIF', 0)
  head.writeUInt16LE(IVF_HEAD_BYTES, 6)
  head.write(codec, 8)
  head.writeUInt16LE(640, 12)
  head.writeUInt16LE(480, 14)
  head.writeUInt32LE(1000, 16)
  head.writeUInt32LE(1, 20)
  return head
}

/** @param {number} length @param {number} ms */
function frameHead(length, ms) {
  const head = Buffer.alloc(IVF_FRAME_BYTES)
  head.writeUInt32LE(length, 0)
  head.writeUInt32LE(ms, 4)
  return head
}
