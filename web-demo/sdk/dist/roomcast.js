/* roomcast, https://github.com/roomcast/roomcast, Apache-2.0. Made by build.sh. */
"use strict";
var roomcast = (() => {
  var __defProp = Object.defineProperty;
  var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
  var __getOwnPropNames = Object.getOwnPropertyNames;
  var __hasOwnProp = Object.prototype.hasOwnProperty;
  var __export = (target, all) => {
    for (var name in all)
      __defProp(target, name, { get: all[name], enumerable: true });
  };
  var __copyProps = (to, from, except, desc) => {
    if (from && typeof from === "object" || typeof from === "function") {
      for (let key of __getOwnPropNames(from))
        if (!__hasOwnProp.call(to, key) && key !== except)
          __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
    }
    return to;
  };
  var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

  // roomcast.js
  var roomcast_exports = {};
  __export(roomcast_exports, {
    LocalStream: () => LocalStream,
    Room: () => Room,
    RoomcastError: () => RoomcastError,
    VERSION: () => VERSION,
    VIDEO_PROFILES: () => VIDEO_PROFILES,
    checkSystemRequirements: () => checkSystemRequirements,
    createStream: () => createStream,
    getCameras: () => getCameras,
    getDevices: () => getDevices,
    getMicrophones: () => getMicrophones,
    getSpeakers: () => getSpeakers,
    isScreenShareSupported: () => isScreenShareSupported
  });

  // down.js
  var Down = class {
    #connection;
    #signaling;
    #onMedia;
    /** Offers are answered one after the other. @type {Promise<unknown>} */
    #queue = Promise.resolve();
    /** @type {Map<string, { userID: string, stream: 'main' | 'aux', media: MediaStream }>} */
    #streams;
    /**
     * @param {import('./signaling.js').Signaling} signaling
     * @param {RTCConfiguration} configuration
     * @param {Map<string, { userID: string, stream: 'main' | 'aux', media: MediaStream }>} streams  outlives this object
     * @param {{ onState: (state: RTCPeerConnectionState) => void, onMedia: (key: string) => void }} callbacks
     */
    constructor(signaling, configuration, streams, { onState, onMedia }) {
      this.#signaling = signaling;
      this.#streams = streams;
      this.#onMedia = onMedia;
      this.#connection = new RTCPeerConnection(configuration);
      this.#connection.addEventListener("connectionstatechange", () => onState(this.#connection.connectionState));
    }
    /** @param {{ version: number, sdp: string, tracks: Assignment[] }} offer @returns {Promise<void>} */
    answer({ version, sdp, tracks }) {
      const result = this.#queue.then(async () => {
        const connection = this.#connection;
        if (connection.signalingState === "closed") return;
        await connection.setRemoteDescription({ type: "offer", sdp });
        this.#assign(tracks);
        await connection.setLocalDescription();
        await this.#signaling.request("answer", { version, sdp: connection.localDescription?.sdp });
      });
      this.#queue = result.catch(() => {
      });
      return result;
    }
    stats() {
      return this.#connection.getStats();
    }
    close() {
      this.#connection.close();
    }
    /**
     * Gives every stream the tracks that the offer says it has. m-lines are used again for other members, so the offer's list, and
     * not the order in which tracks appeared, says whose track it is.
     * @param {Assignment[]} assignments
     */
    #assign(assignments) {
      const received = new Map(this.#connection.getTransceivers().map(({ mid, receiver }) => [mid, receiver.track]));
      const wanted = new Map([...this.#streams.keys()].map((key) => [key, /* @__PURE__ */ new Set()]));
      for (const { mid, userID, stream } of assignments) {
        const key = streamKey(userID, stream);
        const track = received.get(mid);
        if (!this.#streams.has(key)) this.#streams.set(key, { userID, stream, media: new MediaStream() });
        if (!wanted.has(key)) wanted.set(key, /* @__PURE__ */ new Set());
        if (track) wanted.get(key)?.add(track);
      }
      for (const [key, tracks] of wanted) {
        const media = (
          /** @type {MediaStream} */
          this.#streams.get(key)?.media
        );
        const had = media.getTracks();
        const gone = had.filter((track) => !tracks.has(track));
        const added = [...tracks].filter((track) => !had.includes(track));
        for (const track of gone) media.removeTrack(track);
        for (const track of added) media.addTrack(track);
        if (gone.length + added.length > 0) this.#onMedia(key);
      }
    }
  };
  var streamKey = (userID, stream) => `${stream}/${userID}`;

  // figures.js
  var FiguresReader = class {
    /** @type {Map<string, { bytes: number, packets: number, lost: number, at: number, held: number, emitted: number, bps: number, lostShare: number, jitterMs: number }>} */
    #before = /* @__PURE__ */ new Map();
    /**
     * @param {{ up: RTCStatsReport | null, down: RTCStatsReport | null }} reports
     * @param {(direction: 'up' | 'down', trackId: string, mid: string) => { userID: string, stream: 'main' | 'aux' } | null} ownerOf
     * @returns {Figures}
     */
    read({ up, down }, ownerOf) {
      const tracks = [];
      for (
        const [direction, report] of
        /** @type {const} */
        [["up", up], ["down", down]]
      ) {
        for (const stat of report?.values() ?? []) {
          if (stat.type !== (direction === "up" ? "outbound-rtp" : "inbound-rtp")) continue;
          const source = direction === "up" ? report?.get(stat.mediaSourceId) : stat;
          const owner = ownerOf(direction, source?.trackIdentifier ?? "", stat.mid ?? "");
          if (owner) tracks.push({ direction, ...owner, ...this.#track(direction, stat, report, source) });
        }
      }
      const received = tracks.filter(({ direction }) => direction === "down");
      const pair = selectedPair(down) ?? selectedPair(up);
      return {
        at: Date.now(),
        roundTripMs: pair ? pair.roundTripMs : null,
        path: pair?.path ?? "",
        sendBps: sum(tracks.filter(({ direction }) => direction === "up").map(({ bps }) => bps)),
        receiveBps: sum(received.map(({ bps }) => bps)),
        lostShare: received.length > 0 ? Math.max(...received.map(({ lostShare }) => lostShare)) : 0,
        tracks
      };
    }
    /** @param {'up' | 'down'} direction @param {any} stat @param {RTCStatsReport | null} report @param {any} source */
    #track(direction, stat, report, source) {
      const remote = stat.remoteId ? report?.get(stat.remoteId) : null;
      const isUp = direction === "up";
      const now = {
        bytes: (isUp ? stat.bytesSent : stat.bytesReceived) ?? 0,
        packets: (isUp ? stat.packetsSent : stat.packetsReceived) ?? 0,
        lost: (isUp ? remote?.packetsLost : stat.packetsLost) ?? 0,
        at: stat.timestamp,
        held: stat.jitterBufferDelay ?? 0,
        emitted: stat.jitterBufferEmittedCount ?? 0,
        bps: 0,
        lostShare: 0,
        jitterMs: 0
      };
      const before = this.#before.get(stat.id) ?? now;
      const seconds = (now.at - before.at) / 1e3;
      if (seconds > 0) {
        const lost = Math.max(0, now.lost - before.lost);
        const expected = now.packets - before.packets + (isUp ? 0 : lost);
        now.bps = 8 * (now.bytes - before.bytes) / seconds;
        now.lostShare = expected > 0 ? Math.min(1, lost / expected) : 0;
        now.jitterMs = now.emitted > before.emitted ? 1e3 * (now.held - before.held) / (now.emitted - before.emitted) : before.jitterMs;
      } else Object.assign(now, { bps: before.bps, lostShare: before.lostShare, jitterMs: before.jitterMs });
      this.#before.set(stat.id, now);
      return {
        kind: stat.kind,
        codec: (
          /** @type {any} */
          (report?.get(stat.codecId)?.mimeType ?? "").split("/")[1] ?? ""
        ),
        bps: now.bps,
        lostShare: now.lostShare,
        jitterMs: now.jitterMs,
        width: stat.frameWidth ?? 0,
        height: stat.frameHeight ?? 0,
        fps: Math.round(stat.framesPerSecond ?? 0),
        audioLevel: source?.audioLevel ?? 0
      };
    }
  };
  function selectedPair(report) {
    const stats = [...report?.values() ?? []];
    const transport = stats.find(({ type }) => type === "transport");
    const pair = stats.find(({ id, type, nominated }) => type === "candidate-pair" && (transport?.selectedCandidatePairId ? id === transport.selectedCandidatePairId : nominated));
    if (!pair) return null;
    const remote = report?.get(pair.remoteCandidateId);
    const rtt = pair.currentRoundTripTime;
    return { roundTripMs: rtt === void 0 ? null : 1e3 * rtt, path: remote ? place(remote) : "" };
  }
  var sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  function place({ protocol, address, port }) {
    if (!address) return protocol;
    return `${protocol} ${address.includes(":") ? `[${address}]` : address}:${port}`;
  }

  // signaling.js
  var REQUEST_TIMEOUT_MS = 15e3;
  var SILENCE_MAX_MS = 5e3;
  var OPEN_TIMEOUT_MS = 5e3;
  var BACKOFF_MIN_MS = 250;
  var BACKOFF_MAX_MS = 2e3;
  var GRACE_EXTRA_MS = 1e4;
  var COMEBACK_MAX_MS = 3e5;
  var FORGOTTEN = 73025;
  var PASSING = /* @__PURE__ */ new Set(["timeout", 71007, 71009, 74002, 74004, 74005, 75003]);
  var RoomcastError = class _RoomcastError extends Error {
    /**
     * @param {number | string} code  a number from the server, a word from this library or the browser
     * @param {string} message
     * @param {string} [advice]
     */
    constructor(code, message, advice = "") {
      super(message);
      this.name = "RoomcastError";
      this.code = code;
      this.advice = advice;
    }
    /** Any thrown value as an error of ours. @param {unknown} error @returns {RoomcastError} */
    static from(error) {
      if (error instanceof _RoomcastError) return error;
      const { name = "error", message = String(error) } = (
        /** @type {Error} */
        error
      );
      return new _RoomcastError(name, message, "Leave and join again. If it happens again, report it with this text.");
    }
  };
  var Signaling = class _Signaling {
    #url;
    /** @type {WebSocket} */
    #socket;
    /** Requests go out; otherwise they wait for the next WebSocket. */
    #isConnected = true;
    #isClosed = false;
    #nextId = 1;
    /** Of the last message that arrived. */
    #seq = 0;
    #resumeToken = "";
    #resumeMs = 0;
    /** When the last message arrived, on the page's clock. */
    #heardAt = 0;
    /** @type {Map<number, { text: string, isSent: boolean, resolve: (answer: any) => void, reject: (error: RoomcastError) => void, timer: number }>} */
    #waiting = /* @__PURE__ */ new Map();
    /** The server does not know us any more, and we are not in again yet. */
    #isForgotten = false;
    /** Called with every event of the server. @type {(event: any) => void} */
    onEvent = () => {
    };
    /** Called when the connection broke, and when it stands again. @type {(state: 'reconnecting' | 'connected') => void} */
    onConnection = () => {
    };
    /** Without, a conversation that cannot be resumed is over. @type {Comeback | null} */
    comeback = null;
    /** Called once, when it is over. @type {(reason: RoomcastError) => void} */
    onClosed = () => {
    };
    /** Use [`Signaling.open`]. @param {string | URL} url @param {WebSocket} socket  open */
    constructor(url, socket) {
      this.#url = url;
      this.#socket = socket;
      this.#attach(socket);
    }
    /**
     * @param {string | URL} url  `ws:` or `wss:`
     * @returns {Promise<Signaling>}
     * @throws {RoomcastError} `unreachable`
     */
    static async open(url) {
      return new _Signaling(url, await openSocket(url));
    }
    /**
     * Sends a request and waits for its answer, across broken connections if need be.
     * @param {string} type
     * @param {object} [fields]
     * @returns {Promise<any>} the fields of the answer
     * @throws {RoomcastError} with the server's code, or `closed`, or `timeout`
     */
    request(type, fields = {}) {
      if (this.#isClosed) return Promise.reject(new RoomcastError("closed", "The connection to the server is closed.", "Join again."));
      const id = this.#nextId++;
      return this.#ask(id, type, JSON.stringify({ id, type, ...fields }), this.#isConnected);
    }
    /** Requests go out at once. */
    get isConnected() {
      return this.#isConnected;
    }
    /** Sends a heartbeat. If nothing at all comes back in time the connection counts as broken, whatever the system says of it. */
    async beat() {
      if (!this.#isConnected) return;
      const [socket, sentAt] = [this.#socket, performance.now()];
      setTimeout(() => {
        if (this.#heardAt < sentAt && this.#isConnected && socket === this.#socket) this.#lose();
      }, SILENCE_MAX_MS);
      await this.request("heartbeat");
    }
    /** Ends the conversation and every request that still waits. @param {RoomcastError} reason */
    close(reason) {
      if (this.#isClosed) return;
      this.#isClosed = true;
      this.#socket.close();
      this.#fail(reason);
      this.onClosed(reason);
    }
    /** Ends every request that waits. @param {RoomcastError} reason */
    #fail(reason) {
      for (const { reject, timer } of this.#waiting.values()) {
        clearTimeout(timer);
        reject(reason);
      }
      this.#waiting.clear();
    }
    /** @param {number} id @param {string} type @param {string} text @param {boolean} isSent  now, and not only after a reconnection */
    #ask(id, type, text, isSent) {
      return new Promise((resolve, reject) => {
        this.#waiting.set(id, { text, isSent, resolve, reject, timer: 0 });
        this.#arm(id, type);
        if (isSent) this.#socket.send(text);
      });
    }
    /** Gives a request its time. @param {number} id @param {string} type */
    #arm(id, type) {
      const waiting = this.#waiting.get(id);
      if (!waiting) return;
      clearTimeout(waiting.timer);
      waiting.timer = setTimeout(() => {
        this.#waiting.delete(id);
        waiting.reject(new RoomcastError("timeout", `The server did not answer "${type}" in time.`, "Check the network and join again."));
      }, REQUEST_TIMEOUT_MS);
    }
    /** @param {WebSocket} socket */
    #attach(socket) {
      socket.addEventListener("message", ({ data }) => {
        if (socket === this.#socket && !this.#isClosed) this.#onMessage(JSON.parse(data));
      });
      socket.addEventListener("close", ({ code }) => {
        if (socket === this.#socket) this.#lose(code);
      });
    }
    /** @param {any} message */
    #onMessage(message) {
      this.#heardAt = performance.now();
      if (message.seq !== void 0) this.#seq = message.seq;
      const waiting = this.#waiting.get(message.id);
      if (!waiting) return this.onEvent(message);
      this.#waiting.delete(message.id);
      clearTimeout(waiting.timer);
      if (message.resumeToken) {
        this.#resumeToken = message.resumeToken;
        this.#resumeMs = message.resumeSeconds * 1e3;
        this.#seq = 0;
      }
      if (message.type === "ok") waiting.resolve(message);
      else waiting.reject(new RoomcastError(message.code, message.message, message.advice));
    }
    /** The WebSocket is broken. @param {number} [code] */
    #lose(code) {
      if (this.#isClosed || !this.#isConnected) return;
      const lost = new RoomcastError("connection-lost", `The connection to the server was lost${code ? ` (${code})` : ""}.`, "Check the network and join again.");
      if (!this.#resumeToken && !this.comeback) return this.close(lost);
      this.#isConnected = false;
      this.onConnection("reconnecting");
      this.#reconnect(lost).catch((reason) => this.close(reason));
    }
    /** Tries until it succeeds. @param {RoomcastError} lost  thrown when it was tried for long enough */
    async #reconnect(lost) {
      const until = performance.now() + (this.comeback ? COMEBACK_MAX_MS : this.#resumeMs + GRACE_EXTRA_MS);
      for (let wait = 0; !this.#isClosed; wait = Math.min(Math.max(2 * wait, BACKOFF_MIN_MS), BACKOFF_MAX_MS)) {
        await wokenOrAfter(wait * (0.8 + 0.4 * Math.random()));
        if (performance.now() > until) throw lost;
        const socket = await openSocket(this.#url).catch(() => null);
        if (!socket) continue;
        if (this.#isClosed) return socket.close();
        if (await this.#takeUp(socket)) return;
      }
    }
    /**
     * Begins on this WebSocket where the last one broke, or anew if the server does not know us any more.
     * @param {WebSocket} socket @returns {Promise<boolean>} false if it broke too
     * @throws {RoomcastError} the server does not take us back
     */
    async #takeUp(socket) {
      this.#socket.close();
      this.#socket = socket;
      this.#attach(socket);
      let resumed = null;
      try {
        if (this.#isForgotten || !this.#resumeToken) throw new RoomcastError(FORGOTTEN, "The server does not know this side any more.", "Join again.");
        resumed = await this.#first(socket, "resume", { resumeToken: this.#resumeToken, seq: this.#seq });
        if (!resumed) return false;
        this.#isConnected = true;
      } catch (error) {
        if (
          /** @type {RoomcastError} */
          error.code !== FORGOTTEN || !this.comeback
        ) throw error;
        if (!await this.#comeBack(socket, this.comeback)) return false;
      }
      for (const [id, waiting] of [...this.#waiting].sort(([a], [b]) => a - b)) {
        this.#arm(id, JSON.parse(waiting.text).type);
        if (waiting.isSent && !(resumed && id > resumed.lastRequest)) continue;
        waiting.isSent = true;
        socket.send(waiting.text);
      }
      this.onConnection("connected");
      return true;
    }
    /**
     * Enters anew. What was asked before is lost, and nobody knows whether it was done.
     * @param {WebSocket} socket @param {Comeback} comeback @returns {Promise<boolean>} false if the connection broke
     * @throws {RoomcastError} we may not enter any more
     */
    async #comeBack(socket, comeback) {
      if (!this.#isForgotten) {
        this.#isForgotten = true;
        this.#fail(new RoomcastError("connection-lost", "The connection was lost before the answer came.", "Try again."));
        comeback.forgotten();
      }
      const fields = await comeback.fields().catch(() => null);
      const entered = fields && await this.#first(socket, "enter", fields);
      if (!entered || this.#isClosed) return false;
      this.#isForgotten = false;
      this.#isConnected = true;
      comeback.entered(entered);
      return true;
    }
    /**
     * Asks the first thing on a new WebSocket.
     * @param {WebSocket} socket @param {string} type @param {object} fields
     * @returns {Promise<any>} the answer; null if the WebSocket broke too, or it has to be tried again later
     */
    async #first(socket, type, fields) {
      const id = this.#nextId++;
      const broke = new Promise((resolve) => socket.addEventListener("close", () => resolve(null), { once: true }));
      const answer = this.#ask(id, type, JSON.stringify({ id, type, ...fields }), true);
      const outcome = await Promise.race([answer, broke]).catch((error) => PASSING.has(error.code) ? null : Promise.reject(error));
      if (outcome) return outcome;
      answer.catch(() => {
      });
      clearTimeout(this.#waiting.get(id)?.timer);
      this.#waiting.delete(id);
      return null;
    }
  };
  function openSocket(url) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      const timer = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS);
      const fail = () => {
        clearTimeout(timer);
        reject(new RoomcastError("unreachable", `No answer from ${url}`, "Check that the server runs and that this address leads to it."));
      };
      socket.addEventListener("close", fail, { once: true });
      socket.addEventListener(
        "open",
        () => {
          clearTimeout(timer);
          socket.removeEventListener("close", fail);
          resolve(socket);
        },
        { once: true }
      );
    });
  }
  function wokenOrAfter(ms) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        resolve(void 0);
      };
      const timer = setTimeout(done, ms);
      addEventListener("online", done);
    });
  }

  // local-stream.js
  var VIDEO_PROFILES = {
    "120p": { width: 160, height: 120, frameRate: 15, bitrate: 200 },
    "180p": { width: 320, height: 180, frameRate: 15, bitrate: 350 },
    "240p": { width: 320, height: 240, frameRate: 15, bitrate: 400 },
    "360p": { width: 640, height: 360, frameRate: 15, bitrate: 800 },
    "480p": { width: 640, height: 480, frameRate: 15, bitrate: 900 },
    "720p": { width: 1280, height: 720, frameRate: 15, bitrate: 1500 },
    "1080p": { width: 1920, height: 1080, frameRate: 15, bitrate: 2e3 },
    "1440p": { width: 2560, height: 1440, frameRate: 30, bitrate: 4860 },
    "4K": { width: 3840, height: 2160, frameRate: 30, bitrate: 9e3 }
  };
  var SCREEN_PROFILE = { width: 1920, height: 1080, frameRate: 5, bitrate: 1600 };
  var LocalStream = class extends EventTarget {
    #options;
    #media = new MediaStream();
    /** @type {VideoProfile} */
    #profile;
    /** @type {HTMLVideoElement | null} */
    #player = null;
    /** @type {{ context: AudioContext, analyser: AnalyserNode, samples: Float32Array<ArrayBuffer> } | null} */
    #meter = null;
    /** The room that publishes it. @type {Carrier | null} */
    carrier = null;
    /** Use `createStream`. @param {StreamOptions} options */
    constructor(options) {
      super();
      this.#options = options;
      this.#profile = options.screen ? SCREEN_PROFILE : VIDEO_PROFILES["480p"];
    }
    /** @returns {'main' | 'aux'} */
    get stream() {
      return this.#options.screen ? "aux" : "main";
    }
    /** In bits per second. */
    get maxVideoBps() {
      return this.#profile.bitrate * 1e3;
    }
    /** What was opened; the same object always. */
    get mediaStream() {
      return this.#media;
    }
    /**
     * Opens the devices, asking the person if need be.
     * @throws {RoomcastError} with the browser's name of the problem (`NotAllowedError`, `NotFoundError`, `NotReadableError`), or `insecure-page`
     */
    async initialize() {
      const { audio, video, screen, screenAudio, audioSource, videoSource } = this.#options;
      if (audioSource) this.#add(audioSource);
      if (videoSource) this.#add(videoSource);
      const wanted = { audio: Boolean(audio) && !audioSource, video: Boolean(video) && !videoSource && !screen };
      if (screen && !videoSource) {
        const { width, height, frameRate } = this.#profile;
        const devices = mediaDevices();
        const shared = await devices.getDisplayMedia({ video: { width: { max: width }, height: { max: height }, frameRate: { max: frameRate } }, audio: Boolean(screenAudio) }).catch(refuse);
        for (const track of shared.getTracks()) this.#add(track);
      }
      if (wanted.audio || wanted.video) for (const track of await this.#open(wanted)) this.#add(track);
    }
    /** Before `initialize` it chooses what is opened; later the camera is asked to follow. @param {string | Partial<VideoProfile>} profile */
    async setVideoProfile(profile) {
      this.#profile = { ...this.#profile, ...typeof profile === "string" ? VIDEO_PROFILES[profile] : profile };
      const { width, height, frameRate } = this.#profile;
      await this.getVideoTrack()?.applyConstraints({ width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate } });
    }
    /** @param {string | Partial<VideoProfile>} profile */
    setScreenProfile(profile) {
      return this.setVideoProfile(profile);
    }
    /** What matters in the picture. @param {'' | 'motion' | 'detail' | 'text'} hint */
    setVideoContentHint(hint) {
      const track = this.getVideoTrack();
      if (track) track.contentHint = hint;
    }
    /**
     * Shows it inside an element, silent.
     * @param {string | HTMLElement} element  or its id
     */
    async play(element) {
      const parent = typeof element === "string" ? document.getElementById(element) : element;
      if (!parent) throw new RoomcastError("parameter", "There is no such element on the page.", "Give an element, or the id of one.");
      const isMirrored = this.#options.mirror ?? (this.stream === "main" && this.#options.facingMode !== "environment");
      this.#player ??= Object.assign(document.createElement("video"), { autoplay: true, playsInline: true, muted: true });
      this.#player.style.cssText = `width:100%;height:100%;object-fit:cover;${isMirrored ? "transform:scaleX(-1)" : ""}`;
      this.#player.srcObject = this.#media;
      parent.append(this.#player);
      await this.#player.play();
    }
    /** Takes the picture off the page again. */
    stop() {
      this.#player?.remove();
      this.#player = null;
    }
    async resume() {
      await this.#player?.play();
    }
    /** Switches the devices off. */
    close() {
      this.stop();
      for (const track of this.#media.getTracks()) {
        track.stop();
        this.#media.removeTrack(track);
      }
      this.#meter?.context.close();
      this.#meter = null;
    }
    hasAudio() {
      return this.#media.getAudioTracks().length > 0;
    }
    hasVideo() {
      return this.#media.getVideoTracks().length > 0;
    }
    getId() {
      return this.#media.id;
    }
    /** @returns {MediaStreamTrack | undefined} */
    getAudioTrack() {
      return this.#media.getAudioTracks()[0];
    }
    /** @returns {MediaStreamTrack | undefined} */
    getVideoTrack() {
      return this.#media.getVideoTracks()[0];
    }
    /** Silence for everybody; the microphone stays open. @returns {Promise<boolean>} false if there is no sound */
    muteAudio() {
      return this.#mute("audio", true);
    }
    unmuteAudio() {
      return this.#mute("audio", false);
    }
    muteVideo() {
      return this.#mute("video", true);
    }
    unmuteVideo() {
      return this.#mute("video", false);
    }
    /** How loud the microphone is now, from 0 to 1. Needs a click on the page before, as every sound does. */
    getAudioLevel() {
      const track = this.getAudioTrack();
      if (!track) return 0;
      if (!this.#meter) {
        const context = new AudioContext();
        const analyser2 = new AnalyserNode(context, { fftSize: 1024 });
        new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(analyser2);
        this.#meter = { context, analyser: analyser2, samples: new Float32Array(analyser2.fftSize) };
      }
      const { analyser, samples } = this.#meter;
      analyser.getFloatTimeDomainData(samples);
      return Math.min(1, Math.sqrt(samples.reduce((sum2, sample) => sum2 + sample * sample, 0) / samples.length));
    }
    /**
     * Goes over to another camera or microphone; the others see the new picture without a pause.
     * @param {'audio' | 'video'} kind @param {string} deviceId
     * @throws {RoomcastError}
     */
    async switchDevice(kind, deviceId) {
      this.#options = { ...this.#options, [kind === "audio" ? "microphoneId" : "cameraId"]: deviceId };
      const before = kind === "audio" ? this.getAudioTrack() : this.getVideoTrack();
      before?.stop();
      const [track] = await this.#open({ audio: kind === "audio", video: kind === "video" });
      if (before) track.enabled = before.enabled;
      await this.replaceTrack(track);
    }
    /** @param {MediaStreamTrack} track */
    async replaceTrack(track) {
      for (const before of this.#media.getTracks().filter(({ kind }) => kind === track.kind)) {
        before.stop();
        this.#media.removeTrack(before);
      }
      if (track.kind === "audio") {
        this.#meter?.context.close();
        this.#meter = null;
      }
      this.#add(track);
      await this.carrier?.replaceTrack(track);
    }
    /** The picture of this moment as a data URL. @returns {string | null} */
    getVideoFrame() {
      if (!this.#player?.videoWidth) return null;
      const canvas = Object.assign(document.createElement("canvas"), { width: this.#player.videoWidth, height: this.#player.videoHeight });
      canvas.getContext("2d")?.drawImage(this.#player, 0, 0);
      return canvas.toDataURL("image/png");
    }
    /** @param {'audio' | 'video'} kind @param {boolean} muted */
    async #mute(kind, muted) {
      const track = kind === "audio" ? this.getAudioTrack() : this.getVideoTrack();
      if (!track) return false;
      track.enabled = !muted;
      await this.carrier?.mute(kind, muted);
      return true;
    }
    /** @param {MediaStreamTrack} track */
    #add(track) {
      this.#media.addTrack(track);
      track.addEventListener("ended", () => {
        if (!this.#media.getTracks().includes(track)) return;
        const isScreen = this.stream === "aux" && track.kind === "video";
        this.dispatchEvent(new CustomEvent(isScreen ? "screen-sharing-stopped" : "device-lost", { detail: { kind: track.kind } }));
      });
    }
    /** @param {{ audio: boolean, video: boolean }} wanted */
    async #open({ audio, video }) {
      const { cameraId, microphoneId, facingMode } = this.#options;
      const { width, height, frameRate } = this.#profile;
      const camera = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate }, deviceId: cameraId && { exact: cameraId }, facingMode };
      const opened = await mediaDevices().getUserMedia({ audio: audio && { deviceId: microphoneId ? { exact: microphoneId } : void 0 }, video: video && camera }).catch(refuse);
      return opened.getTracks();
    }
  };
  var createStream = (options) => new LocalStream(options);
  function mediaDevices() {
    if (navigator.mediaDevices) return navigator.mediaDevices;
    throw new RoomcastError("insecure-page", "Browsers open cameras only on https and on localhost.", "Open the page by https.");
  }
  function refuse(problem) {
    const advice = {
      NotAllowedError: "Allow it in the address bar and try again.",
      NotFoundError: "Plug a device in, or go on without.",
      OverconstrainedError: "Choose another device.",
      NotReadableError: "Close the other program that uses it."
    }[problem.name];
    throw new RoomcastError(problem.name, problem.message || "The device could not be opened.", advice ?? "Try again.");
  }

  // up.js
  var Up = class {
    #connection;
    #signaling;
    /** Negotiations run one after the other. @type {Promise<unknown>} */
    #queue = Promise.resolve();
    /** @type {Map<string, RTCRtpTransceiver[]>} */
    #streams = /* @__PURE__ */ new Map();
    /**
     * @param {import('./signaling.js').Signaling} signaling
     * @param {RTCConfiguration} configuration
     * @param {(state: RTCPeerConnectionState) => void} onState
     */
    constructor(signaling, configuration, onState) {
      this.#signaling = signaling;
      this.#connection = new RTCPeerConnection(configuration);
      this.#connection.addEventListener("connectionstatechange", () => onState(this.#connection.connectionState));
    }
    /** @param {MediaStreamTrack[]} tracks @param {PublishOptions} options */
    publish(tracks, { stream = "main", codec, maxVideoBps, degradationPreference }) {
      return this.#next(async () => {
        await this.#release(stream);
        const group = new MediaStream(tracks);
        const transceivers = [];
        this.#streams.set(stream, transceivers);
        for (const track of tracks) {
          const transceiver = await this.#transceiverFor(track, group);
          transceivers.push(transceiver);
          if (track.kind !== "video") continue;
          transceiver.setCodecPreferences(codec ? codecsFor(codec) : []);
          const parameters = transceiver.sender.getParameters();
          parameters.degradationPreference = degradationPreference;
          for (const encoding of parameters.encodings) encoding.maxBitrate = maxVideoBps;
          await transceiver.sender.setParameters(parameters);
        }
        try {
          await this.#negotiate();
        } catch (error) {
          await this.#release(stream);
          throw error;
        }
      });
    }
    /** @param {string} stream */
    unpublish(stream) {
      return this.#next(async () => {
        if (!this.#streams.has(stream)) return;
        await this.#release(stream);
        await this.#signaling.request("unpublish", { stream });
      });
    }
    /** Finds a new path to the server (ICE restart). What is sent goes on over the old one meanwhile, if that still leads there. */
    restart() {
      return this.#next(async () => {
        if (this.#streams.size === 0 || this.#connection.signalingState === "closed") return;
        this.#connection.restartIce();
        await this.#negotiate();
      });
    }
    /** The server ended a stream of ours. @param {string} stream */
    drop(stream) {
      return this.#next(() => this.#release(stream));
    }
    /** What carries this kind of medium in a stream. @param {string} stream @param {string} kind */
    sender(stream, kind) {
      return this.#streams.get(stream)?.find(({ sender }) => sender.track?.kind === kind)?.sender;
    }
    /** Which stream an m-line feeds. @param {string} mid @returns {'main' | 'aux' | undefined} */
    streamOf(mid) {
      for (const [stream, transceivers] of this.#streams)
        if (transceivers.some((transceiver) => transceiver.mid === mid)) return (
          /** @type {'main' | 'aux'} */
          stream
        );
    }
    stats() {
      return this.#connection.getStats();
    }
    close() {
      this.#connection.close();
    }
    /** @template T @param {() => Promise<T>} task @returns {Promise<T>} */
    #next(task) {
      const result = this.#queue.then(task);
      this.#queue = result.catch(() => {
      });
      return result;
    }
    /**
     * A transceiver that an earlier stream left is used again, so that the description does not grow with every change.
     * @param {MediaStreamTrack} track @param {MediaStream} group
     */
    async #transceiverFor(track, group) {
      const free = this.#connection.getTransceivers().find(({ direction, receiver }) => direction === "inactive" && receiver.track.kind === track.kind);
      if (!free) return this.#connection.addTransceiver(track, { direction: "sendonly", streams: [group] });
      free.direction = "sendonly";
      free.sender.setStreams(group);
      await free.sender.replaceTrack(track);
      return free;
    }
    /** Stops sending a stream; the next offer shows its m-lines as inactive. @param {string} stream */
    async #release(stream) {
      for (const transceiver of this.#streams.get(stream) ?? []) {
        transceiver.direction = "inactive";
        await transceiver.sender.replaceTrack(null);
      }
      this.#streams.delete(stream);
    }
    async #negotiate() {
      const connection = this.#connection;
      await connection.setLocalDescription();
      const tracks = [...this.#streams].flatMap(([stream, transceivers]) => transceivers.map(({ mid }) => ({ mid, stream })));
      try {
        const { sdp } = await this.#signaling.request("publish", { sdp: connection.localDescription?.sdp, tracks });
        await connection.setRemoteDescription({ type: "answer", sdp });
      } catch (error) {
        if (connection.signalingState === "have-local-offer") await connection.setLocalDescription({ type: "rollback" });
        throw error;
      }
    }
  };
  function codecsFor(codec) {
    const all = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
    const mimeType = `video/${codec.toLowerCase()}`;
    const wanted = all.filter((one) => one.mimeType.toLowerCase() === mimeType && !one.sdpFmtpLine?.includes("packetization-mode=0"));
    if (wanted.length === 0) throw new RoomcastError("no-codec", `This browser cannot send ${codec}.`, "Choose another codec.");
    const isBaseline = (one) => Number(one.sdpFmtpLine?.includes("42e01f") ?? false);
    wanted.sort((a, b) => isBaseline(b) - isBaseline(a));
    return [...wanted, ...all.filter((one) => one.mimeType === "video/rtx")];
  }

  // devices.js
  async function getDevices(kind) {
    const all = await navigator.mediaDevices?.enumerateDevices() ?? [];
    return all.filter((device) => !kind || device.kind === kind).map(({ deviceId, label, kind: kind2, groupId }) => ({ deviceId, label, kind: kind2, groupId }));
  }
  var getCameras = () => getDevices("videoinput");
  var getMicrophones = () => getDevices("audioinput");
  var getSpeakers = () => getDevices("audiooutput");
  var isScreenShareSupported = () => Boolean(navigator.mediaDevices?.getDisplayMedia);
  async function checkSystemRequirements() {
    const isWebRTCSupported = typeof RTCPeerConnection === "function";
    const has = (side, codec) => isWebRTCSupported && Boolean(side.getCapabilities("video")?.codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`));
    const detail = {
      isBrowserSupported: isWebRTCSupported && typeof WebSocket === "function",
      isWebRTCSupported,
      isWebSocketsSupported: typeof WebSocket === "function",
      isMediaDevicesSupported: Boolean(navigator.mediaDevices),
      isScreenShareSupported: isScreenShareSupported(),
      isH264EncodeSupported: has(RTCRtpSender, "h264"),
      isH264DecodeSupported: has(RTCRtpReceiver, "h264"),
      isVp8EncodeSupported: has(RTCRtpSender, "vp8"),
      isVp8DecodeSupported: has(RTCRtpReceiver, "vp8")
    };
    const canSend = detail.isH264EncodeSupported || detail.isVp8EncodeSupported;
    const canReceive = detail.isH264DecodeSupported || detail.isVp8DecodeSupported;
    return { result: detail.isBrowserSupported && canSend && canReceive, detail };
  }

  // roomcast.js
  var VERSION = "0.1.0";
  var COMEBACK_CODES = /* @__PURE__ */ new Set([72007, 72008, 74005]);
  var Room = class _Room extends EventTarget {
    #signaling;
    /** @type {RTCConfiguration} */
    #configuration;
    /** @type {Up | null} */
    #up = null;
    /** @type {Down | null} */
    #down = null;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #heartbeat;
    #subscribesToAll = true;
    #figures = new FiguresReader();
    /** What we enter with. @type {Partial<Ticket>} */
    #ticket = {};
    /** What we send, to publish it anew. @type {Map<string, { tracks: MediaStreamTrack[], options: import('./up.js').PublishOptions, muted: Set<Kind> }>} */
    #published = /* @__PURE__ */ new Map();
    /** What was asked for by name, by the key of the stream; null: not wanted. @type {Map<string, Choice | null>} */
    #choices = /* @__PURE__ */ new Map();
    /** Our own metadata, if we set it. @type {string | null} */
    #ownMetadata = null;
    /** The room is being entered anew: who is not there yet may come back. */
    #isReturning = false;
    /** The newest message to the room that arrived. */
    #lastMessage = { time: 0, messageID: 0 };
    /** @type {Map<string, { userID: string, stream: StreamName, media: MediaStream }>} */
    #received = /* @__PURE__ */ new Map();
    /** Who is in the room, without ourselves. @type {Map<string, Member>} */
    members = /* @__PURE__ */ new Map();
    /** Who speaks at the moment, the loudest first. @type {Speaker[]} */
    speakers = [];
    /** Our own name in the room; empty until entered. */
    userID = "";
    /** @type {number | string} */
    roomID = "";
    /** What we may do: privilege bits, as PROTOCOL.md lists them. */
    privilege = 0;
    /** @type {'anchor' | 'audience'} */
    role = "anchor";
    /** Who created the room and keeps order in it; empty if that was no user. */
    owner = "";
    /** Nobody new may enter but the owner and moderators. */
    isLocked = false;
    /** The app's own words about the room. */
    metadata = "";
    /** Time from the last heartbeat to its answer, in milliseconds; null until one was measured. @type {number | null} */
    roundTripMs = null;
    /** Use [`Room.connect`]. @param {Signaling} signaling @param {RTCConfiguration} configuration */
    constructor(signaling, configuration) {
      super();
      this.#signaling = signaling;
      this.#configuration = { bundlePolicy: "max-bundle", ...configuration };
      signaling.onEvent = (event) => this.#onEvent(event);
      signaling.onClosed = (reason) => this.#onClosed(reason);
      signaling.onConnection = (state) => this.#emit("connection", { state });
    }
    /**
     * Connects to a server's `/signal`.
     * @param {string | URL} url  `ws:` or `wss:`
     * @param {RTCConfiguration} [configuration]  of both peer connections; the server needs neither STUN nor TURN to be reached
     * @returns {Promise<Room>}
     * @throws {RoomcastError} `unreachable`
     */
    static async connect(url, configuration = {}) {
      return new _Room(await Signaling.open(url), configuration);
    }
    /**
     * Listens to an event, and is called with its fields.
     * @param {string} type @param {(fields: any) => void} listener
     * @returns {() => void} ends it
     */
    on(type, listener) {
      const unpack = (event) => listener(
        /** @type {CustomEvent} */
        event.detail
      );
      this.addEventListener(type, unpack);
      return () => this.removeEventListener(type, unpack);
    }
    /**
     * Enters the room that the ticket is for.
     * @param {Ticket & { role?: 'anchor' | 'audience', name?: string, autoSubscribe?: boolean, renewTicket?: () => Promise<Partial<Ticket>> }} options
     *   `autoSubscribe` (default true): receive every stream of everybody, now and as they come. `renewTicket`: asked for a fresh
     *   ticket when the room has to be entered anew; without it the old one is shown again
     * @returns {Promise<Member[]>} who is there already. What was said before, if the app keeps it, comes as `message` events first
     * @throws {RoomcastError} with the server's code
     */
    async enter({ sdkAppID, userID, userSig, roomID, privateMapKey, role, name, autoSubscribe = true, renewTicket }) {
      this.#subscribesToAll = autoSubscribe;
      this.userID = userID;
      this.#ticket = { sdkAppID, userID, userSig, roomID, privateMapKey };
      const entered = await this.#signaling.request("enter", { ...this.#ticket, role, name });
      this.#setEntered(entered);
      for (const member of entered.members) this.#addMember(member);
      this.#signaling.comeback = {
        forgotten: () => this.#closePeers(),
        fields: async () => ({ ...this.#ticket, ...await renewTicket?.(), role: this.role, name }),
        entered: (answer) => this.#onReturned(answer)
      };
      if (autoSubscribe) await this.subscribeAll();
      return [...this.members.values()];
    }
    /** Leaves the room and closes the connection. Never fails: whatever happens, this side is out afterwards. */
    async leave() {
      if (this.#signaling.isConnected) await this.#signaling.request("leave").catch(() => {
      });
      this.#signaling.close(new RoomcastError(0, "You left the room."));
    }
    /**
     * Publishes tracks as one stream: at most one audio and one video track. A second call with the same stream name replaces
     * what that stream carries. A LocalStream knows its own name and bitrate; from now on what it mutes and switches reaches the room.
     * @param {LocalStream | MediaStream | MediaStreamTrack[]} media
     * @param {import('./up.js').PublishOptions} [options]
     * @throws {RoomcastError} with the server's code, or `no-codec`
     */
    async publish(media, options = {}) {
      this.#up ??= new Up(this.#signaling, this.#configuration, (state) => this.#onPeerState("up", state));
      const isOurs = media instanceof LocalStream;
      const sent = isOurs ? media.mediaStream.getTracks() : media instanceof MediaStream ? media.getTracks() : media;
      const how = isOurs ? { stream: media.stream, maxVideoBps: media.maxVideoBps, ...options } : options;
      const stream = how.stream ?? "main";
      await this.#up.publish(sent, how);
      this.#published.set(stream, { tracks: [...sent], options: how, muted: /* @__PURE__ */ new Set() });
      if (!isOurs) return;
      media.carrier = {
        replaceTrack: (track) => this.replaceTrack(track, stream),
        mute: (kind, muted) => this.mute(stream, kind, muted)
      };
    }
    /**
     * Stops publishing a stream. The tracks themselves go on: whoever opened the camera closes it.
     * @param {StreamName} [stream]  default 'main'
     */
    async unpublish(stream = "main") {
      this.#published.delete(stream);
      await this.#up?.unpublish(stream);
    }
    /**
     * Puts another track in the place of a published one; the others notice no more than the new picture.
     * @param {MediaStreamTrack} track
     * @param {StreamName} [stream]
     * @returns {Promise<boolean>} false if the stream carries no track of this kind
     */
    async replaceTrack(track, stream = "main") {
      const sender = this.#up?.sender(stream, track.kind);
      const published = this.#published.get(stream);
      if (published && sender) published.tracks = [...published.tracks.filter(({ kind }) => kind !== track.kind), track];
      await sender?.replaceTrack(track);
      return sender !== void 0;
    }
    /**
     * Mutes or unmutes what we publish: the track sends silence or black, and the others are told.
     * @param {StreamName} stream @param {Kind} kind @param {boolean} muted
     */
    async mute(stream, kind, muted) {
      const track = this.#up?.sender(stream, kind)?.track;
      if (track) track.enabled = !muted;
      await this.#signaling.request("mute", { stream, kind, muted });
      this.#published.get(stream)?.muted[muted ? "add" : "delete"](kind);
    }
    /**
     * Says something to everybody else, or to one member. Resolves when the server has taken it: then it will arrive, once, and in
     * the order in which the server took it.
     * @param {{ to?: string, text: string } | { to?: string, data: string, desc?: string, ext?: string }} message
     *   at most 12,000 bytes to one member, 8,898 to the room; 20 a second, 60 at once
     * @returns {Promise<{ messageID: number, time: number }>}
     * @throws {RoomcastError} 73014 if there is no such member, 73019 too big, 73021 too many, 73022 muted
     */
    async sendMessage(message) {
      const { messageID, time } = await this.#signaling.request("message", message);
      return { messageID, time };
    }
    /**
     * Becomes anchor or audience. To become anchor a ticket is needed, and its privileges replace those we had. With the role that we
     * have, it renews the ticket. Becoming audience ends what we publish.
     * @param {'anchor' | 'audience'} role
     * @param {{ userSig?: string, privateMapKey?: string }} [ticket]
     * @throws {RoomcastError} with the server's code, such as 71004 when the ticket does not allow to send
     */
    async switchRole(role, { userSig, privateMapKey } = {}) {
      const granted = await this.#signaling.request("role", { role, userSig, privateMapKey });
      this.role = granted.role;
      this.privilege = granted.privilege;
      if (userSig) this.#ticket = { ...this.#ticket, userSig, privateMapKey };
      if (role === "audience") this.#closeUp();
    }
    /** Sets the app's own words about ourselves; the others get `member-changed`. @param {string} metadata  at most 8 KiB; empty removes it */
    async setMetadata(metadata) {
      await this.#signaling.request("set-metadata", { metadata });
      this.#ownMetadata = metadata;
    }
    /**
     * Locks the room, or changes its metadata. This and the following are for the room's owner and for moderators (privilege bit
     * 256); others are refused with 73015.
     * @param {{ locked?: boolean, metadata?: string }} change  what is left out stays
     */
    async updateRoom({ locked, metadata }) {
      await this.#signaling.request("update-room", { locked, metadata });
    }
    /** Sends a member away; he may come back. @param {string} userID */
    async kick(userID) {
      await this.#signaling.request("kick", { userID });
    }
    /** Sends a user away and keeps him out. @param {string} userID @param {number} [seconds]  default: for as long as the room exists */
    async ban(userID, seconds) {
      await this.#signaling.request("ban", { userID, seconds });
    }
    /** Lets a banned user in again. @param {string} userID */
    async unban(userID) {
      await this.#signaling.request("unban", { userID });
    }
    /**
     * Sets which of a member's media the others do not get, whatever he wants himself.
     * @param {string} userID @param {Partial<Silence>} silence  what is left out stays
     */
    async muteMember(userID, { audio, video, messages }) {
      await this.#signaling.request("mute-member", { userID, audio, video, messages });
    }
    /** Ends the room for everybody. */
    async dissolve() {
      await this.#signaling.request("dissolve");
    }
    /** Subscribes to every stream in the room, and from now on to every stream that comes. */
    async subscribeAll() {
      this.#subscribesToAll = true;
      this.#choices.clear();
      await this.#subscribeAgain();
    }
    /**
     * Subscribes to streams, or changes what is received of them (`audio: false` or `video: false` leaves one out).
     * @param {Choice[]} streams
     */
    async subscribe(streams) {
      for (const choice of streams) this.#choices.set(streamKey(choice.userID, choice.stream), choice);
      await this.#signaling.request("subscribe", { streams });
    }
    /** @param {{ userID: string, stream: StreamName }[]} streams */
    async unsubscribe(streams) {
      for (const { userID, stream } of streams) this.#choices.set(streamKey(userID, stream), null);
      await this.#signaling.request("unsubscribe", { streams });
    }
    /**
     * Finds new paths to the server for both directions (ICE restart). Done by itself when a path is lost; a page that knows of a
     * new network earlier may ask for it.
     */
    async restart() {
      await Promise.all([this.#up?.restart(), this.#down && this.#signaling.request("restart")]);
    }
    /**
     * What is received from a member: the same object for as long as the member publishes that stream, with tracks coming and
     * going.
     * @param {string} userID @param {StreamName} [stream]
     * @returns {MediaStream}
     */
    mediaStream(userID, stream = "main") {
      const key = streamKey(userID, stream);
      const received = this.#received.get(key) ?? { userID, stream, media: new MediaStream() };
      this.#received.set(key, received);
      return received.media;
    }
    /**
     * Statistics of both directions, as the browser gives them; null where there is no connection.
     * @returns {Promise<{ up: RTCStatsReport | null, down: RTCStatsReport | null }>}
     */
    async stats() {
      return { up: await this.#up?.stats() ?? null, down: await this.#down?.stats() ?? null };
    }
    /**
     * What the statistics say, in bits per second and shares lost, since the last call; call it about once a second.
     * @returns {Promise<import('./figures.js').Figures>}
     */
    async figures() {
      return this.#figures.read(await this.stats(), (direction, trackId, mid) => {
        if (direction === "up") {
          const stream = this.#up?.streamOf(mid);
          return stream ? { userID: this.userID, stream } : null;
        }
        for (const { userID, stream, media } of this.#received.values()) if (media.getTrackById(trackId)) return { userID, stream };
        return null;
      });
    }
    /**
     * By how many milliseconds the server's clock is ahead of this machine's; right to half the round trip.
     * @returns {Promise<number>} negative when it is behind
     * @throws {RoomcastError} `timeout`, `closed`
     */
    async clockOffset() {
      const sentAt = Date.now();
      const { now } = await this.#signaling.request("heartbeat");
      return now - (sentAt + Date.now()) / 2;
    }
    /** What the answer to `enter` says of us and of the room. @param {any} entered */
    #setEntered(entered) {
      this.userID = entered.userID;
      this.roomID = entered.roomID;
      this.role = entered.role;
      this.privilege = entered.privilege;
      this.#setRoom(entered);
      const { time, messageID } = this.#lastMessage;
      for (const message of entered.history ?? [])
        if (message.time > time || message.time === time && message.messageID > messageID) this.#onMessage(message);
      clearInterval(this.#heartbeat);
      this.#heartbeat = setInterval(() => this.#beat(), entered.heartbeatSeconds * 1e3);
      if (entered.speakers || this.speakers.length > 0) this.#setSpeakers(entered.speakers ?? []);
    }
    /**
     * The room was entered anew: what differs from what we knew is told as events, and what we sent and received begins again.
     * @param {any} entered  the answer to `enter`
     */
    #onReturned(entered) {
      this.#setEntered(entered);
      this.#emit("room-changed", { owner: this.owner, locked: this.isLocked, metadata: this.metadata });
      const here = new Set(entered.members.map(({ userID }) => userID));
      this.#isReturning = true;
      for (const userID of [...this.members.keys()]) if (!here.has(userID)) this.#removeMember({ userID, reason: "disconnected" });
      for (const member of entered.members) this.#meetAgain(member);
      this.#isReturning = false;
      if (this.#ownMetadata) this.#inBackground(this.setMetadata(this.#ownMetadata));
      for (const { tracks, options, muted } of [...this.#published.values()]) this.#inBackground(this.#publishAgain(tracks, options, muted));
      this.#inBackground(this.#subscribeAgain());
    }
    /** @param {Member} member  as the server has him now */
    #meetAgain({ streams, ...member }) {
      const known = this.members.get(member.userID);
      if (!known) {
        this.#addMember({ ...member, streams: [...streams] });
        return this.#emit("member-entered", { member: this.members.get(member.userID) });
      }
      Object.assign(known, { metadata: void 0, silenced: void 0 }, member, { name: member.name || member.userID });
      this.#emit("member-changed", { member: known });
      const before = [...known.streams];
      for (const { stream } of before) if (!streams.some((one) => one.stream === stream)) this.#removeStream({ userID: member.userID, stream });
      known.streams = streams;
      for (const stream of streams) {
        const type = before.some((one) => one.stream === stream.stream) ? "stream-changed" : "stream-added";
        this.#emit(type, { userID: member.userID, stream });
      }
    }
    /** @param {MediaStreamTrack[]} tracks @param {import('./up.js').PublishOptions} options @param {Set<Kind>} muted */
    async #publishAgain(tracks, options, muted) {
      const stream = options.stream ?? "main";
      const live = tracks.filter(({ readyState }) => readyState === "live");
      if (live.length === 0) return;
      await this.publish(live, options);
      for (const kind of muted) await this.mute(stream, kind, true);
    }
    /** Subscribes to what is wanted of what there is. */
    async #subscribeAgain() {
      const there = [...this.members.values()].flatMap(({ userID, streams: streams2 }) => streams2.map(({ stream }) => this.#choiceOf(userID, stream)));
      const streams = there.filter((choice) => choice !== null);
      if (streams.length > 0) await this.#signaling.request("subscribe", { streams });
    }
    /** What is wanted of a stream; null: nothing. @param {string} userID @param {StreamName} stream @returns {Choice | null} */
    #choiceOf(userID, stream) {
      const choice = this.#choices.get(streamKey(userID, stream));
      return choice === void 0 && this.#subscribesToAll ? { userID, stream } : choice ?? null;
    }
    #closeUp() {
      this.#up?.close();
      this.#up = null;
      this.#published.clear();
    }
    /** Closes both peer connections. What was published is remembered. */
    #closePeers() {
      this.#up?.close();
      this.#down?.close();
      this.#up = this.#down = null;
    }
    /** @param {Message} message */
    #onMessage(message) {
      if (!message.to) this.#lastMessage = message;
      this.#emit("message", message);
    }
    /** @param {any} event */
    #onEvent(event) {
      switch (event.type) {
        case "member-entered":
          if (this.#addMember(event.member)) this.#emit("member-entered", { member: this.members.get(event.member.userID) });
          return;
        case "member-left":
          return this.#removeMember(event);
        case "member-changed":
          return this.#changeMember(event.member);
        case "room-changed":
          this.#setRoom(event);
          return this.#emit("room-changed", { owner: this.owner, locked: this.isLocked, metadata: this.metadata });
        case "message": {
          const { type, seq, ...message } = event;
          return this.#onMessage(message);
        }
        case "stream-added":
        case "stream-changed":
          return this.#putStream(event);
        case "stream-removed":
          return this.#removeStream(event);
        case "muted":
          return this.#setMuted(event);
        case "speakers":
          return this.#setSpeakers(event.speakers);
        case "offer":
          this.#down ??= new Down(this.#signaling, this.#configuration, this.#received, {
            onState: (state) => this.#onPeerState("down", state),
            onMedia: (key) => this.#onMedia(key)
          });
          return this.#inBackground(this.#down.answer(event));
        case "transport":
          return this.#onTransport(event);
        case "closed":
          if (COMEBACK_CODES.has(event.code)) return;
          return this.#signaling.close(new RoomcastError(event.code, event.message, event.advice));
        case "error":
          return this.#emit("error", { error: new RoomcastError(event.code, event.message, event.advice) });
      }
    }
    /** @param {Member} member @returns {boolean} false for ourselves */
    #addMember(member) {
      if (member.userID === this.userID) return false;
      this.members.set(member.userID, { ...member, name: member.name || member.userID });
      return true;
    }
    /** @param {Member} changed */
    #changeMember(changed) {
      const member = this.members.get(changed.userID);
      if (member) Object.assign(member, { metadata: void 0, silenced: void 0 }, changed);
      this.#emit("member-changed", { member: member ?? changed });
    }
    /** @param {{ owner?: string, locked?: boolean, metadata?: string }} info */
    #setRoom({ owner = "", locked = false, metadata = "" }) {
      this.owner = owner;
      this.isLocked = locked;
      this.metadata = metadata;
    }
    /** @param {{ userID: string, reason?: string }} event */
    #removeMember({ userID, reason }) {
      const member = this.members.get(userID);
      if (!member) return;
      for (const { stream } of [...member.streams]) this.#removeStream({ userID, stream });
      this.members.delete(userID);
      this.#emit("member-left", { member, reason });
    }
    /** @param {{ type: string, userID: string, stream: StreamInfo }} event */
    #putStream({ type, userID, stream }) {
      const member = this.members.get(userID);
      if (!member) return;
      member.streams = [...member.streams.filter((other) => other.stream !== stream.stream), stream];
      this.#emit(type, { userID, stream });
      const choice = this.#choiceOf(userID, stream.stream);
      if (type === "stream-added" && choice) this.#inBackground(this.#signaling.request("subscribe", { streams: [choice] }));
    }
    /** @param {{ userID: string, stream: StreamName }} event */
    #removeStream({ userID, stream }) {
      if (userID === this.userID) {
        this.#published.delete(stream);
        return this.#inBackground(this.#up?.drop(stream) ?? Promise.resolve());
      }
      const member = this.members.get(userID);
      const info = member?.streams.find((other) => other.stream === stream);
      if (!member || !info) return;
      member.streams = member.streams.filter((other) => other !== info);
      this.#received.delete(streamKey(userID, stream));
      if (!this.#isReturning) this.#choices.delete(streamKey(userID, stream));
      this.#emit("stream-removed", { userID, stream: info });
    }
    /** @param {{ userID: string, stream: StreamName, kind: Kind, muted: boolean }} event */
    #setMuted({ userID, stream, kind, muted }) {
      const track = this.members.get(userID)?.streams.find((other) => other.stream === stream)?.[kind];
      if (track) track.muted = muted;
      this.#emit("muted", { userID, stream, kind, muted });
    }
    /** @param {Speaker[]} speakers */
    #setSpeakers(speakers) {
      this.speakers = speakers;
      this.#emit("speakers", { speakers });
    }
    /** @param {string} key */
    #onMedia(key) {
      const received = this.#received.get(key);
      if (received) this.#emit("media", { userID: received.userID, stream: received.stream, mediaStream: received.media });
    }
    /** When the server gave up a transport so do we; the next publish or offer makes a new one. @param {any} event */
    #onTransport({ direction, state, reason }) {
      if (state === "closed" && direction === "up") {
        this.#closeUp();
      } else if (state === "closed") {
        this.#down?.close();
        this.#down = null;
      }
      this.#emit("transport", { direction, state, reason });
    }
    /** @param {'up' | 'down'} direction @param {RTCPeerConnectionState} reason */
    #onPeerState(direction, reason) {
      if (reason === "disconnected") this.#inBackground(this.restart());
      const state = reason === "failed" ? "closed" : reason;
      if (state === "connecting" || state === "connected" || state === "closed") this.#emit("transport", { direction, state, reason });
    }
    async #beat() {
      const sent = performance.now();
      await this.#signaling.beat().then(
        () => this.roundTripMs = performance.now() - sent,
        () => {
        }
        // a lost connection says so itself
      );
    }
    /** @param {RoomcastError} reason */
    #onClosed({ code, message, advice }) {
      clearInterval(this.#heartbeat);
      this.#closePeers();
      this.#emit("closed", { code, message, advice });
    }
    /** @param {Promise<unknown>} work */
    #inBackground(work) {
      work.catch((error) => {
        if (error.code !== "connection-lost") this.#emit("error", { error: RoomcastError.from(error) });
      });
    }
    /** @param {string} type @param {object} detail */
    #emit(type, detail) {
      this.dispatchEvent(new CustomEvent(type, { detail }));
    }
  };
  return __toCommonJS(roomcast_exports);
})();
