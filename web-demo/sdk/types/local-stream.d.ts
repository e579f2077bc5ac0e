/**
 * @typedef {{ width: number, height: number, frameRate: number, bitrate: number }} VideoProfile  bitrate in kbit/s
 *
 * @typedef {object} StreamOptions
 * @property {boolean} [audio]  the microphone
 * @property {boolean} [video]  the camera
 * @property {boolean} [screen]  the screen instead of the camera; published as the stream `aux`
 * @property {boolean} [screenAudio]  with the sound of the screen, where the browser can
 * @property {string} [cameraId]
 * @property {string} [microphoneId]
 * @property {'user' | 'environment'} [facingMode]  which camera of a phone
 * @property {MediaStreamTrack} [audioSource]  this track instead of a microphone
 * @property {MediaStreamTrack} [videoSource]  this track instead of a camera
 * @property {boolean} [mirror]  whether `play` shows it mirrored; by default a camera is
 */
/** @type {Record<string, VideoProfile>} */
export const VIDEO_PROFILES: Record<string, VideoProfile>;
/** @typedef {{ replaceTrack: (track: MediaStreamTrack) => Promise<unknown>, mute: (kind: 'audio' | 'video', muted: boolean) => Promise<unknown> }} Carrier */
/**
 * Events: `screen-sharing-stopped` (the person ended it in the browser), `device-lost` with `{ kind }` (unplugged, or taken away),
 * `error` with `{ error }`.
 */
export class LocalStream extends EventTarget {
    /** Use `createStream`. @param {StreamOptions} options */
    constructor(options: StreamOptions);
    /** The room that publishes it. @type {Carrier | null} */ carrier: Carrier | null;
    /** @returns {'main' | 'aux'} */
    get stream(): "main" | "aux";
    /** In bits per second. */
    get maxVideoBps(): number;
    /** What was opened; the same object always. */
    get mediaStream(): MediaStream;
    /**
     * Opens the devices, asking the person if need be.
     * @throws {RoomcastError} with the browser's name of the problem (`NotAllowedError`, `NotFoundError`, `NotReadableError`), or `insecure-page`
     */
    initialize(): Promise<void>;
    /** Before `initialize` it chooses what is opened; later the camera is asked to follow. @param {string | Partial<VideoProfile>} profile */
    setVideoProfile(profile: string | Partial<VideoProfile>): Promise<void>;
    /** @param {string | Partial<VideoProfile>} profile */
    setScreenProfile(profile: string | Partial<VideoProfile>): Promise<void>;
    /** What matters in the picture. @param {'' | 'motion' | 'detail' | 'text'} hint */
    setVideoContentHint(hint: "" | "motion" | "detail" | "text"): void;
    /**
     * Shows it inside an element, silent.
     * @param {string | HTMLElement} element  or its id
     */
    play(element: string | HTMLElement): Promise<void>;
    /** Takes the picture off the page again. */
    stop(): void;
    resume(): Promise<void>;
    /** Switches the devices off. */
    close(): void;
    hasAudio(): boolean;
    hasVideo(): boolean;
    getId(): string;
    /** @returns {MediaStreamTrack | undefined} */
    getAudioTrack(): MediaStreamTrack | undefined;
    /** @returns {MediaStreamTrack | undefined} */
    getVideoTrack(): MediaStreamTrack | undefined;
    /** Silence for everybody; the microphone stays open. @returns {Promise<boolean>} false if there is no sound */
    muteAudio(): Promise<boolean>;
    unmuteAudio(): Promise<boolean>;
    muteVideo(): Promise<boolean>;
    unmuteVideo(): Promise<boolean>;
    /** How loud the microphone is now, from 0 to 1. Needs a click on the page before, as every sound does. */
    getAudioLevel(): number;
    /**
     * Goes over to another camera or microphone; the others see the new picture without a pause.
     * @param {'audio' | 'video'} kind @param {string} deviceId
     * @throws {RoomcastError}
     */
    switchDevice(kind: "audio" | "video", deviceId: string): Promise<void>;
    /** @param {MediaStreamTrack} track */
    replaceTrack(track: MediaStreamTrack): Promise<void>;
    /** The picture of this moment as a data URL. @returns {string | null} */
    getVideoFrame(): string | null;
    #private;
}
export function createStream(options: StreamOptions): LocalStream;
/**
 * bitrate in kbit/s
 */
export type VideoProfile = {
    width: number;
    height: number;
    frameRate: number;
    bitrate: number;
};
export type StreamOptions = {
    /**
     * the microphone
     */
    audio?: boolean | undefined;
    /**
     * the camera
     */
    video?: boolean | undefined;
    /**
     * the screen instead of the camera; published as the stream `aux`
     */
    screen?: boolean | undefined;
    /**
     * with the sound of the screen, where the browser can
     */
    screenAudio?: boolean | undefined;
    cameraId?: string | undefined;
    microphoneId?: string | undefined;
    /**
     * which camera of a phone
     */
    facingMode?: "user" | "environment" | undefined;
    /**
     * this track instead of a microphone
     */
    audioSource?: MediaStreamTrack | undefined;
    /**
     * this track instead of a camera
     */
    videoSource?: MediaStreamTrack | undefined;
    /**
     * whether `play` shows it mirrored; by default a camera is
     */
    mirror?: boolean | undefined;
};
export type Carrier = {
    replaceTrack: (track: MediaStreamTrack) => Promise<unknown>;
    mute: (kind: "audio" | "video", muted: boolean) => Promise<unknown>;
};
