/** The page's words, in English and Chinese. Elements with `data-t` are written again when the language changes. */

/** @type {Record<string, [english: string, chinese: string]>} */
const WORDS = {
  // Lobby
  'title': ['roomcast: room {room}', 'roomcast：房间 {room}'],
  'join-room': ['Join room {room}', '加入房间 {room}'],
  'lead': ['Browsers, OBS, ffmpeg and phones meet here, whichever protocol they come by.', '浏览器、OBS、ffmpeg 和手机在这里相遇，不论走哪种协议。'],
  'your-name': ['Your name', '你的名字'],
  'room': ['Room', '房间'],
  'join': ['Join', '加入'],
  'join-viewer': ['Join without camera', '不开摄像头加入'],
  'join-hint': ['Your browser will ask for the camera and the microphone. If you say no, you can still watch.', '浏览器会询问摄像头和麦克风权限；拒绝也可以观看。'],
  'live-now': ['Live now', '正在直播'],
  'preview-note': ['the test stream, over HTTP-FLV', '测试流（HTTP-FLV）'],
  'check-devices': ['Check camera and microphone', '检查摄像头和麦克风'],
  'you': ['You', '你'],
  'microphone-level': ['Microphone level', '麦克风音量'],
  'guest': ['Guest', '访客'],
  // Top
  'copy-link': ['Copy link', '复制链接'],
  'copied': ['Copied', '已复制'],
  'press-copy': ['Press Ctrl+C', '请按 Ctrl+C'],
  'not-allowed': ['Not allowed', '不允许'],
  'doctor': ['Doctor', '诊断'],
  'docs': ['Docs', '文档'],
  'start-page': ['roomcast, start page', 'roomcast 首页'],
  'connected': ['Connected, {ms} ms round trip', '已连接，往返 {ms} 毫秒'],
  'layout': ['Layout', '布局'],
  'layout-grid': ['Grid', '网格'],
  'layout-bigsmall': ['One big, others small', '一大多小'],
  'layout-float': ['Floating', '悬浮'],
  // Room
  'nobody': ['Nobody is sending yet', '还没有人推流'],
  'nobody-hint': ['Turn your camera on, or push a stream with one of the lines under Connect.', '打开摄像头，或用“接入”里的地址推一路流。'],
  'people': ['People', '成员'],
  'chat': ['Chat', '聊天'],
  'connect': ['Connect', '接入'],
  'numbers': ['Numbers', '数据'],
  'close-panel': ['Close the panel', '关闭面板'],
  'mute': ['Mute', '静音'],
  'unmute': ['Unmute', '取消静音'],
  'camera-stop': ['Stop camera', '关摄像头'],
  'camera-start': ['Start camera', '开摄像头'],
  'share': ['Share screen', '共享屏幕'],
  'share-stop': ['Stop sharing', '停止共享'],
  'details': ['Details', '详情'],
  'devices': ['Devices', '设备'],
  'leave': ['Leave', '离开'],
  'camera': ['Camera', '摄像头'],
  'microphone': ['Microphone', '麦克风'],
  'speaker': ['Speaker', '扬声器'],
  'done': ['Done', '完成'],
  'connecting': ['Connecting', '连接中'],
  'sound-on': ['Turn the sound on', '打开声音'],
  'compare': ['Compare protocols', '对比协议'],
  'compare-stop': ['Stop comparing', '停止对比'],
  'make-big': ['Show large', '放大'],
  'delay': ['Delay', '延时'],
  'lip-sync': ['Lip sync', '音画同步'],
  'lip-sync-hint': ['By how much the sound comes after the picture', '声音比画面晚多少'],
  'seconds': ['{s} s', '{s} 秒'],
  'milliseconds': ['{ms} ms', '{ms} 毫秒'],
  'than-webrtc': ['{s} s to WebRTC', '比 WebRTC {s} 秒'],
  'your-screen': ['Your screen', '你的屏幕'],
  'of-screen': ['{name}, screen', '{name} 的屏幕'],
  'is-you': ['{name} (you)', '{name}（你）'],
  'test-stream': ['Test stream', '测试流'],
  'dismiss': ['Dismiss', '关闭'],
  'code': ['Code {code}.', '错误码 {code}。'],
  // People
  'audience': ['in the audience', '观众'],
  'watching': ['watching', '正在观看'],
  'sending': ['sending', '正在推流'],
  'anchor': ['Anchor', '主播'],
  'role-audience': ['Audience', '观众'],
  'owner': ['Owner', '房主'],
  'kick': ['Send away', '移出'],
  'silence': ['Mute for everybody', '全员静音此人'],
  'unsilence': ['Let be heard again', '恢复发言'],
  'lock': ['Lock the room', '锁定房间'],
  'unlock': ['Unlock the room', '解锁房间'],
  // Chat
  'chat-empty': ['Nothing was said yet.', '还没有消息。'],
  'chat-place': ['Say something to everybody', '对所有人说点什么'],
  'send': ['Send', '发送'],
  'server-said': ['Server', '服务器'],
  // Connect
  'phone-title': ['This room on a phone', '在手机上打开本房间'],
  'phone-text': ['Point the camera of the phone here.', '用手机相机扫一扫。'],
  'phone-local': ['This page was opened as localhost, which is the phone itself for a phone: open it by this machine’s address instead.', '当前地址是 localhost，手机无法访问；请改用本机的局域网地址打开此页。'],
  'ffmpeg-title': ['Push with ffmpeg', '用 ffmpeg 推流'],
  'ffmpeg-text': ['Paste it into a terminal: a test picture with a tone joins this room.', '粘贴到终端：带提示音的测试画面将进入本房间。'],
  'ask-ticket': ['Ask your server for a ticket and put it in the place of USERSIG.', '向你的服务器申请票据，替换 USERSIG。'],
  'obs-title': ['Push with OBS', '用 OBS 推流'],
  'obs-text': ['Settings, Stream, Service “Custom”. Turn B-frames off in the encoder.', '设置 → 直播 → 服务“自定义”。请在编码器中关闭 B 帧。'],
  'pusher-title': ['live-pusher', 'live-pusher'],
  'pusher-text': ['For a mini-program, or any RTMP app of a phone: scan the address, or copy the tag.', '用于小程序或手机上的 RTMP 应用：扫码取地址，或复制标签。'],
  'whip-title': ['Push by WHIP', '用 WHIP 推流'],
  'whip-text': ['OBS 30 and everything else that speaks WHIP.', 'OBS 30 及其他支持 WHIP 的软件。'],
  'play-title': ['Play elsewhere', '在别处播放'],
  'play-text': ['The same stream in any player.', '在任意播放器里看同一路流。'],
  'terminal': ['Terminal', '终端'],
  'server': ['Server', '服务器'],
  'stream-key': ['Stream key', '串流密钥'],
  'bearer': ['Bearer token', 'Bearer 令牌'],
  'address': ['Address', '地址'],
  'tag': ['Tag', '标签'],
  'stream': ['Stream', '流'],
  'copy': ['Copy', '复制'],
  'copy-what': ['Copy: {what}', '复制：{what}'],
  // Numbers
  'plot-receive': ['Received', '接收'],
  'plot-send': ['Sent', '发送'],
  'plot-loss': ['Lost', '丢包'],
  'plot-delay': ['Round trip', '往返延时'],
  'path': ['Path', '路径'],
  'path-none': ['no media yet', '尚无媒体'],
  'lost': ['{percent} % lost', '丢包 {percent}%'],
  'buffered': ['{ms} ms buffered', '缓冲 {ms} 毫秒'],
  'sound': ['sound', '声音'],
  'video': ['picture', '画面'],
  // Doctor
  'doctor-title': ['Can this browser reach this server?', '此浏览器能否连通服务器？'],
  'doctor-lead': ['Every path that a call needs is tried, for real.', '逐一实测通话所需的每条路径。'],
  'doctor-again': ['Test again', '重新检测'],
  'doctor-good': ['Everything is in order.', '一切正常。'],
  'doctor-warn': ['It works, with limits.', '可用，但有限制。'],
  'doctor-bad': ['Something is in the way.', '存在问题。'],
  'doctor-running': ['Looking …', '检测中……'],
  'check-signal': ['Signaling', '信令'],
  'check-udp': ['Media over UDP', 'UDP 媒体'],
  'check-tcp': ['Media over TCP', 'TCP 媒体'],
  'check-tls': ['Encryption of the page', '页面加密'],
  'check-address': ['Address of the server', '服务器地址'],
  'check-clock': ['Clock', '时钟'],
  'check-codecs': ['Codecs', '编解码器'],
  'check-devices-name': ['Camera and microphone', '摄像头和麦克风'],
  'signal-ok': ['answers in {ms} ms', '{ms} 毫秒内应答'],
  'signal-bad': ['no answer from {url}', '{url} 没有应答'],
  'signal-advice': ['A proxy in front of the server has to pass WebSockets on.', '若有反向代理，请允许 WebSocket。'],
  'path-ok': ['connected in {ms} ms to {where}', '{ms} 毫秒连通 {where}'],
  'path-bad': ['no connection within {s} s', '{s} 秒内未连通'],
  'path-not-offered': ['the server offers none', '服务器未提供'],
  'path-not-tried': ['not tried, because signaling failed', '信令失败，未检测'],
  'udp-advice': ['Open the media port (8000/udp if not changed) in the firewall and forward it. Until then media goes over TCP.', '请在防火墙放行并转发媒体端口（默认 8000/udp）；在此之前媒体走 TCP。'],
  'tcp-advice': ['Open the media port (8000/tcp if not changed) too: networks that block UDP need it.', '请同时放行媒体端口的 TCP（默认 8000/tcp），供禁用 UDP 的网络使用。'],
  'tls-ok': ['https', 'https'],
  'tls-local': ['this machine itself: https is not needed', '本机访问，不需要 https'],
  'tls-bad': ['plain http from another machine', '从其他机器以 http 打开'],
  'tls-advice': ['Browsers open no camera here. Use {url}, or give the server a certificate (https.certificate).', '浏览器不会在此开启摄像头。请使用 {url}，或为服务器配置证书（https.certificate）。'],
  'address-ok': ['media comes from {where}', '媒体地址 {where}'],
  'address-bad': ['the page is at {host}, media at {where}', '页面在 {host}，媒体在 {where}'],
  'address-advice': ['Behind NAT or in a container, start the server with --public-ip and the address by which clients reach it.', '在 NAT 或容器后，请用 --public-ip 指定客户端可达的地址。'],
  'clock-ok': ['{s} s apart', '相差 {s} 秒'],
  'clock-advice': ['Tickets are judged by the server’s clock: set both clocks by NTP.', '票据按服务器时钟判断：请用 NTP 校准。'],
  'codecs-ok': ['sends and receives {codecs}', '可收发 {codecs}'],
  'codecs-h264': ['no H.264: {codecs} only', '没有 H.264，仅 {codecs}'],
  'codecs-h264-advice': ['RTMP players and mini-programs cannot see what this browser sends. Chrome, Edge and Safari have H.264.', 'RTMP 播放器和小程序看不到此浏览器的画面。Chrome、Edge、Safari 支持 H.264。'],
  'codecs-bad': ['no WebRTC', '不支持 WebRTC'],
  'codecs-advice': ['Use a current browser.', '请使用新版浏览器。'],
  'devices-ok': ['{cameras} and {microphones} found', '找到 {cameras} 和 {microphones}'],
  'n-cameras': ['{n} camera(s)', '{n} 个摄像头'],
  'n-microphones': ['{n} microphone(s)', '{n} 个麦克风'],
  'devices-none': ['none found', '未找到'],
  'devices-advice': ['Without them you can still watch.', '没有设备也可以观看。'],
  // Errors of the page itself
  'send-broken': ['What you send no longer arrives ({reason}).', '你的画面已无法送达（{reason}）。'],
  'receive-broken': ['Nothing arrives from the others any more ({reason}).', '已收不到其他人的画面（{reason}）。'],
  'reconnecting': ['Connection lost. Reconnecting…', '连接已断开，正在重连…'],
  'broken-advice': ['Check that UDP to this server is open, then leave and join again.', '请确认到服务器的 UDP 畅通，然后重新加入。'],
  'unreachable': ['The server does not answer.', '服务器没有应答。'],
  'unreachable-advice': ['Check that it still runs, then try again.', '请确认服务器在运行，然后重试。'],
  'no-demo': ['This server gives no demo tickets.', '此服务器不发放演示票据。'],
  'no-demo-advice': ['Open the page with a ticket of your own in the address: #sdkAppID=…&userID=…&userSig=…&roomID=…', '请在地址中带上自己的票据：#sdkAppID=…&userID=…&userSig=…&roomID=…'],
  'insecure': ['Browsers open cameras only on https and on localhost.', '浏览器只在 https 和 localhost 上开启摄像头。'],
  'insecure-advice': ['Open this page as {url} or on the server itself as http://localhost.', '请用 {url} 打开，或在服务器本机用 http://localhost。'],
  'refused': ['Camera and microphone were not allowed.', '未获得摄像头和麦克风权限。'],
  'refused-advice': ['You are watching. To take part, allow them in the address bar and press the camera button.', '你正在观看。要参与，请在地址栏允许后点击摄像头按钮。'],
  'not-found': ['No camera or no microphone was found.', '未找到摄像头或麦克风。'],
  'not-found-advice': ['Plug one in and press its button, or go on without.', '请接入设备后点击按钮，或继续观看。'],
  'in-use': ['The camera or the microphone is in use by another program.', '摄像头或麦克风被其他程序占用。'],
  'in-use-advice': ['Close the other program and press the button again.', '请关闭其他程序后重试。'],
  'other-advice': ['Go on without, or try again.', '继续观看，或重试。'],
}

const KEPT_AS = 'roomcast.language'
/** Which place of an entry is meant. @type {0 | 1} */
let place = initial()

/**
 * The words for a key, with `{name}` replaced by values.
 * @param {string} key @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = WORDS[key]?.[place] ?? key
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole))
}

/** `en` or `zh`. */
export const language = () => (place === 0 ? 'en' : 'zh')

/** @param {'en' | 'zh'} wanted */
export function setLanguage(wanted) {
  place = wanted === 'zh' ? 1 : 0
  try {
    localStorage.setItem(KEPT_AS, wanted)
  } catch {
    // then it is chosen again next time
  }
  translate(document)
}

/** Writes everything that has a key. @param {ParentNode} root */
export function translate(root) {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en'
  for (const element of root.querySelectorAll('[data-t]')) element.textContent = t(/** @type {HTMLElement} */ (element).dataset.t ?? '')
  for (const element of root.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', t(/** @type {HTMLElement} */ (element).dataset.tLabel ?? ''))
  for (const element of root.querySelectorAll('[data-t-title]')) {
    const { tTitle = '', key } = /** @type {HTMLElement} */ (element).dataset
    element.setAttribute('title', key ? `${t(tTitle)} (${key})` : t(tTitle))
  }
  for (const element of root.querySelectorAll('[data-t-place]')) element.setAttribute('placeholder', t(/** @type {HTMLElement} */ (element).dataset.tPlace ?? ''))
}

/** @returns {0 | 1} */
function initial() {
  const asked = new URLSearchParams(location.search).get('lang')
  let kept = null
  try {
    kept = localStorage.getItem(KEPT_AS)
  } catch {
    // the browser's own language decides
  }
  return (asked ?? kept ?? navigator.language).startsWith('zh') ? 1 : 0
}
