export * from "./devices.js";
export { RoomcastError };
export const VERSION: "0.1.0";
/**
 * @typedef {'main' | 'aux'} StreamName  'aux' is the screen share.
 * @typedef {'audio' | 'video'} Kind
 * @typedef {{ codec: string, muted: boolean }} TrackInfo
 * @typedef {{ stream: StreamName, audio: TrackInfo | null, video: TrackInfo | null }} StreamInfo
 *
 * @typedef {object} Member
 * @property {string} userID
 * @property {string} name       what to show; the userID if the member gave no name
 * @property {'anchor' | 'audience'} role
 * @property {'webrtc' | 'rtmp' | 'whip' | 'whep' | 'test'} protocol  what the member came by
 * @property {string} [metadata]  the app's own words about the member
 * @property {Silence} [silenced]  what of the member others do not get, by the will of whoever keeps order
 * @property {StreamInfo[]} streams
 *
 * @typedef {{ audio: boolean, video: boolean, messages: boolean }} Silence
 *
 * @typedef {object} Message
 * @property {number} messageID  counts up in each room
 * @property {string} [from]  who said it; absent if the server did
 * @property {string} [to]    absent if it is for everybody
 * @property {number} time    when the server took it, in Unix milliseconds
 * @property {string} [text]
 * @property {string} [data]  instead of `text`: something between apps, with `desc` and `ext`
 * @property {string} [desc]
 * @property {string} [ext]
 *
 * @typedef {object} Ticket
 * @property {number} sdkAppID
 * @property {string} userID
 * @property {string} userSig
 * @property {number | string} roomID
 * @property {string} [privateMapKey]
 *
 * @typedef {{ userID: string, stream: StreamName, audio?: boolean, video?: boolean }} Choice
 *
 * One who speaks. `level` in decibels relative to overload: 0 is as loud as can be, speech is around -25.
 * @typedef {{ userID: string, stream: StreamName, level: number }} Speaker
 */
/**
 * A room, from the connection to the server until it closes. One object per visit; it cannot be entered twice.
 *
 * Events (`CustomEvent`s, with these fields in `detail`; see also `on`):
 *
 * | event | fields |
 * |---|---|
 * | `member-entered`, `member-left` | `{ member, reason? }` |
 * | `member-changed` | `{ member }`: role, metadata or `silenced`; also of ourselves |
 * | `room-changed` | `{ owner, locked, metadata }` |
 * | `message` | a Message |
 * | `stream-added`, `stream-changed`, `stream-removed` | `{ userID, stream: StreamInfo }` |
 * | `muted` | `{ userID, stream, kind, muted }` |
 * | `speakers` | `{ speakers: Speaker[] }`: who speaks from now on, the loudest first, ourselves too; nobody if empty. At most three a second |
 * | `media` | `{ userID, stream, mediaStream }`: tracks came to or went from this stream |
 * | `transport` | `{ direction: 'up' \| 'down', state: 'connecting' \| 'connected' \| 'closed', reason? }` |
 * | `connection` | `{ state: 'reconnecting' \| 'connected' }`: the WebSocket broke, or stands again. Requests wait meanwhile; those that the server lost fail with `connection-lost` |
 * | `error` | `{ error: RoomcastError }`: something in the background failed; the room goes on |
 * | `closed` | `{ code, message, advice }`: nothing more will happen. After `leave()` the code is 0 |
 */
export class Room extends EventTarget {
    /**
     * Connects to a server's `/signal`.
     * @param {string | URL} url  `ws:` or `wss:`
     * @param {RTCConfiguration} [configuration]  of both peer connections; the server needs neither STUN nor TURN to be reached
     * @returns {Promise<Room>}
     * @throws {RoomcastError} `unreachable`
     */
    static connect(url: string | URL, configuration?: RTCConfiguration): Promise<Room>;
    /** Use [`Room.connect`]. @param {Signaling} signaling @param {RTCConfiguration} configuration */
    constructor(signaling: Signaling, configuration: RTCConfiguration);
    /** Who is in the room, without ourselves. @type {Map<string, Member>} */
    members: Map<string, Member>;
    /** Who speaks at the moment, the loudest first. @type {Speaker[]} */
    speakers: Speaker[];
    /** Our own name in the room; empty until entered. */
    userID: string;
    /** @type {number | string} */
    roomID: number | string;
    /** What we may do: privilege bits, as PROTOCOL.md lists them. */
    privilege: number;
    /** @type {'anchor' | 'audience'} */
    role: "anchor" | "audience";
    /** Who created the room and keeps order in it; empty if that was no user. */
    owner: string;
    /** Nobody new may enter but the owner and moderators. */
    isLocked: boolean;
    /** The app's own words about the room. */
    metadata: string;
    /** Time from the last heartbeat to its answer, in milliseconds; null until one was measured. @type {number | null} */
    roundTripMs: number | null;
    /**
     * Listens to an event, and is called with its fields.
     * @param {string} type @param {(fields: any) => void} listener
     * @returns {() => void} ends it
     */
    on(type: string, listener: (fields: any) => void): () => void;
    /**
     * Enters the room that the ticket is for.
     * @param {Ticket & { role?: 'anchor' | 'audience', name?: string, autoSubscribe?: boolean, renewTicket?: () => Promise<Partial<Ticket>> }} options
     *   `autoSubscribe` (default true): receive every stream of everybody, now and as they come. `renewTicket`: asked for a fresh
     *   ticket when the room has to be entered anew; without it the old one is shown again
     * @returns {Promise<Member[]>} who is there already. What was said before, if the app keeps it, comes as `message` events first
     * @throws {RoomcastError} with the server's code
     */
    enter({ sdkAppID, userID, userSig, roomID, privateMapKey, role, name, autoSubscribe, renewTicket }: Ticket & {
        role?: "anchor" | "audience";
        name?: string;
        autoSubscribe?: boolean;
        renewTicket?: () => Promise<Partial<Ticket>>;
    }): Promise<Member[]>;
    /** Leaves the room and closes the connection. Never fails: whatever happens, this side is out afterwards. */
    leave(): Promise<void>;
    /**
     * Publishes tracks as one stream: at most one audio and one video track. A second call with the same stream name replaces
     * what that stream carries. A LocalStream knows its own name and bitrate; from now on what it mutes and switches reaches the room.
     * @param {LocalStream | MediaStream | MediaStreamTrack[]} media
     * @param {import('./up.js').PublishOptions} [options]
     * @throws {RoomcastError} with the server's code, or `no-codec`
     */
    publish(media: LocalStream | MediaStream | MediaStreamTrack[], options?: import("./up.js").PublishOptions): Promise<void>;
    /**
     * Stops publishing a stream. The tracks themselves go on: whoever opened the camera closes it.
     * @param {StreamName} [stream]  default 'main'
     */
    unpublish(stream?: StreamName): Promise<void>;
    /**
     * Puts another track in the place of a published one; the others notice no more than the new picture.
     * @param {MediaStreamTrack} track
     * @param {StreamName} [stream]
     * @returns {Promise<boolean>} false if the stream carries no track of this kind
     */
    replaceTrack(track: MediaStreamTrack, stream?: StreamName): Promise<boolean>;
    /**
     * Mutes or unmutes what we publish: the track sends silence or black, and the others are told.
     * @param {StreamName} stream @param {Kind} kind @param {boolean} muted
     */
    mute(stream: StreamName, kind: Kind, muted: boolean): Promise<void>;
    /**
     * Says something to everybody else, or to one member. Resolves when the server has taken it: then it will arrive, once, and in
     * the order in which the server took it.
     * @param {{ to?: string, text: string } | { to?: string, data: string, desc?: string, ext?: string }} message
     *   at most 12,000 bytes to one member, 8,898 to the room; 20 a second, 60 at once
     * @returns {Promise<{ messageID: number, time: number }>}
     * @throws {RoomcastError} 73014 if there is no such member, 73019 too big, 73021 too many, 73022 muted
     */
    sendMessage(message: {
        to?: string;
        text: string;
    } | {
        to?: string;
        data: string;
        desc?: string;
        ext?: string;
    }): Promise<{
        messageID: number;
        time: number;
    }>;
    /**
     * Becomes anchor or audience. To become anchor a ticket is needed, and its privileges replace those we had. With the role that we
     * have, it renews the ticket. Becoming audience ends what we publish.
     * @param {'anchor' | 'audience'} role
     * @param {{ userSig?: string, privateMapKey?: string }} [ticket]
     * @throws {RoomcastError} with the server's code, such as 71004 when the ticket does not allow to send
     */
    switchRole(role: "anchor" | "audience", { userSig, privateMapKey }?: {
        userSig?: string;
        privateMapKey?: string;
    }): Promise<void>;
    /** Sets the app's own words about ourselves; the others get `member-changed`. @param {string} metadata  at most 8 KiB; empty removes it */
    setMetadata(metadata: string): Promise<void>;
    /**
     * Locks the room, or changes its metadata. This and the following are for the room's owner and for moderators (privilege bit
     * 256); others are refused with 73015.
     * @param {{ locked?: boolean, metadata?: string }} change  what is left out stays
     */
    updateRoom({ locked, metadata }: {
        locked?: boolean;
        metadata?: string;
    }): Promise<void>;
    /** Sends a member away; he may come back. @param {string} userID */
    kick(userID: string): Promise<void>;
    /** Sends a user away and keeps him out. @param {string} userID @param {number} [seconds]  default: for as long as the room exists */
    ban(userID: string, seconds?: number): Promise<void>;
    /** Lets a banned user in again. @param {string} userID */
    unban(userID: string): Promise<void>;
    /**
     * Sets which of a member's media the others do not get, whatever he wants himself.
     * @param {string} userID @param {Partial<Silence>} silence  what is left out stays
     */
    muteMember(userID: string, { audio, video, messages }: Partial<Silence>): Promise<void>;
    /** Ends the room for everybody. */
    dissolve(): Promise<void>;
    /** Subscribes to every stream in the room, and from now on to every stream that comes. */
    subscribeAll(): Promise<void>;
    /**
     * Subscribes to streams, or changes what is received of them (`audio: false` or `video: false` leaves one out).
     * @param {Choice[]} streams
     */
    subscribe(streams: Choice[]): Promise<void>;
    /** @param {{ userID: string, stream: StreamName }[]} streams */
    unsubscribe(streams: {
        userID: string;
        stream: StreamName;
    }[]): Promise<void>;
    /**
     * Finds new paths to the server for both directions (ICE restart). Done by itself when a path is lost; a page that knows of a
     * new network earlier may ask for it.
     */
    restart(): Promise<void>;
    /**
     * What is received from a member: the same object for as long as the member publishes that stream, with tracks coming and
     * going.
     * @param {string} userID @param {StreamName} [stream]
     * @returns {MediaStream}
     */
    mediaStream(userID: string, stream?: StreamName): MediaStream;
    /**
     * Statistics of both directions, as the browser gives them; null where there is no connection.
     * @returns {Promise<{ up: RTCStatsReport | null, down: RTCStatsReport | null }>}
     */
    stats(): Promise<{
        up: RTCStatsReport | null;
        down: RTCStatsReport | null;
    }>;
    /**
     * What the statistics say, in bits per second and shares lost, since the last call; call it about once a second.
     * @returns {Promise<import('./figures.js').Figures>}
     */
    figures(): Promise<import("./figures.js").Figures>;
    /**
     * By how many milliseconds the server's clock is ahead of this machine's; right to half the round trip.
     * @returns {Promise<number>} negative when it is behind
     * @throws {RoomcastError} `timeout`, `closed`
     */
    clockOffset(): Promise<number>;
    #private;
}
/**
 * 'aux' is the screen share.
 */
export type StreamName = "main" | "aux";
export type Kind = "audio" | "video";
export type TrackInfo = {
    codec: string;
    muted: boolean;
};
export type StreamInfo = {
    stream: StreamName;
    audio: TrackInfo | null;
    video: TrackInfo | null;
};
export type Member = {
    userID: string;
    /**
     * what to show; the userID if the member gave no name
     */
    name: string;
    role: "anchor" | "audience";
    /**
     * what the member came by
     */
    protocol: "webrtc" | "rtmp" | "whip" | "whep" | "test";
    /**
     * the app's own words about the member
     */
    metadata?: string | undefined;
    /**
     * what of the member others do not get, by the will of whoever keeps order
     */
    silenced?: Silence | undefined;
    streams: StreamInfo[];
};
export type Silence = {
    audio: boolean;
    video: boolean;
    messages: boolean;
};
export type Message = {
    /**
     * counts up in each room
     */
    messageID: number;
    /**
     * who said it; absent if the server did
     */
    from?: string | undefined;
    /**
     * absent if it is for everybody
     */
    to?: string | undefined;
    /**
     * when the server took it, in Unix milliseconds
     */
    time: number;
    text?: string | undefined;
    /**
     * instead of `text`: something between apps, with `desc` and `ext`
     */
    data?: string | undefined;
    desc?: string | undefined;
    ext?: string | undefined;
};
export type Ticket = {
    sdkAppID: number;
    userID: string;
    userSig: string;
    roomID: number | string;
    privateMapKey?: string | undefined;
};
/**
 * One who speaks. `level` in decibels relative to overload: 0 is as loud as can be, speech is around -25.
 */
export type Choice = {
    userID: string;
    stream: StreamName;
    audio?: boolean;
    video?: boolean;
};
export type Speaker = {
    userID: string;
    stream: StreamName;
    level: number;
};
import { RoomcastError } from './signaling.js';
import { LocalStream } from './local-stream.js';
import { Signaling } from './signaling.js';
export { createStream, LocalStream, VIDEO_PROFILES } from "./local-stream.js";
