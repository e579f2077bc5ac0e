/**
 * @typedef {object} PublishOptions
 * @property {'main' | 'aux'} [stream]  default 'main'; 'aux' is the screen share
 * @property {'H264' | 'VP8' | 'VP9' | 'AV1'} [codec]  offer only this video codec; by default the server chooses
 * @property {number} [maxVideoBps]  upper limit of the video bitrate, in bits per second
 * @property {RTCDegradationPreference} [degradationPreference]  what gives way first when the network is slow
 */
/** Our side of publishing. A closed one is thrown away; the next publish makes a new one. */
export class Up {
    /**
     * @param {import('./signaling.js').Signaling} signaling
     * @param {RTCConfiguration} configuration
     * @param {(state: RTCPeerConnectionState) => void} onState
     */
    constructor(signaling: import("./signaling.js").Signaling, configuration: RTCConfiguration, onState: (state: RTCPeerConnectionState) => void);
    /** @param {MediaStreamTrack[]} tracks @param {PublishOptions} options */
    publish(tracks: MediaStreamTrack[], { stream, codec, maxVideoBps, degradationPreference }: PublishOptions): Promise<void>;
    /** @param {string} stream */
    unpublish(stream: string): Promise<void>;
    /** Finds a new path to the server (ICE restart). What is sent goes on over the old one meanwhile, if that still leads there. */
    restart(): Promise<void>;
    /** The server ended a stream of ours. @param {string} stream */
    drop(stream: string): Promise<void>;
    /** What carries this kind of medium in a stream. @param {string} stream @param {string} kind */
    sender(stream: string, kind: string): RTCRtpSender | undefined;
    /** Which stream an m-line feeds. @param {string} mid @returns {'main' | 'aux' | undefined} */
    streamOf(mid: string): "main" | "aux" | undefined;
    stats(): Promise<RTCStatsReport>;
    close(): void;
    #private;
}
export type PublishOptions = {
    /**
     * default 'main'; 'aux' is the screen share
     */
    stream?: "main" | "aux" | undefined;
    /**
     * offer only this video codec; by default the server chooses
     */
    codec?: "H264" | "VP8" | "VP9" | "AV1" | undefined;
    /**
     * upper limit of the video bitrate, in bits per second
     */
    maxVideoBps?: number | undefined;
    /**
     * what gives way first when the network is slow
     */
    degradationPreference?: RTCDegradationPreference | undefined;
};
