/** What this browser can do, and which cameras, microphones and speakers there are. */

/** @typedef {{ deviceId: string, label: string, kind: MediaDeviceKind, groupId: string }} Device */

/**
 * Every device. Names and ids are empty until the page was allowed to open one.
 * @param {MediaDeviceKind} [kind]  only these
 * @returns {Promise<Device[]>}
 */
export async function getDevices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? []
  return all.filter((device) => !kind || device.kind === kind).map(({ deviceId, label, kind, groupId }) => ({ deviceId, label, kind, groupId }))
}

export const getCameras = () => getDevices('videoinput')
export const getMicrophones = () => getDevices('audioinput')
export const getSpeakers = () => getDevices('audiooutput')

/** Whether this browser can share its screen; phones cannot. */
export const isScreenShareSupported = () => Boolean(navigator.mediaDevices?.getDisplayMedia)

/**
 * Whether this browser can take part, and with what.
 * @returns {Promise<{ result: boolean, detail: Record<string, boolean> }>} `result` is true where everything needed is there: WebRTC,
 *   and H.264 or VP8 in both directions. `isMediaDevicesSupported` is false on pages that came by plain http from another machine.
 */
export async function checkSystemRequirements() {
  const isWebRTCSupported = typeof RTCPeerConnection === 'function'
  const has = (/** @type {typeof RTCRtpSender | typeof RTCRtpReceiver} */ side, /** @type {string} */ codec) =>
    isWebRTCSupported && Boolean(side.getCapabilities('video')?.codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`))
  const detail = {
    isBrowserSupported: isWebRTCSupported && typeof WebSocket === 'function',
    isWebRTCSupported,
    isWebSocketsSupported: typeof WebSocket === 'function',
    isMediaDevicesSupported: Boolean(navigator.mediaDevices),
    isScreenShareSupported: isScreenShareSupported(),
    isH264EncodeSupported: has(RTCRtpSender, 'h264'),
    isH264DecodeSupported: has(RTCRtpReceiver, 'h264'),
    isVp8EncodeSupported: has(RTCRtpSender, 'vp8'),
    isVp8DecodeSupported: has(RTCRtpReceiver, 'vp8'),
  }
  const canSend = detail.isH264EncodeSupported || detail.isVp8EncodeSupported
  const canReceive = detail.isH264DecodeSupported || detail.isVp8DecodeSupported
  return { result: detail.isBrowserSupported && canSend && canReceive, detail }
}
