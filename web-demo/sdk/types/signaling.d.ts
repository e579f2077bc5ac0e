/** What went wrong, with a code that the documentation lists and one sentence on what to do about it. */
export class RoomcastError extends Error {
    /** Any thrown value as an error of ours. @param {unknown} error @returns {RoomcastError} */
    static from(error: unknown): RoomcastError;
    /**
     * @param {number | string} code  a number from the server, a word from this library or the browser
     * @param {string} message
     * @param {string} [advice]
     */
    constructor(code: number | string, message: string, advice?: string);
    code: string | number;
    advice: string;
}
/**
 * How to enter anew when the server has forgotten us: it was restarted, or we were away for too long.
 * @typedef {object} Comeback
 * @property {() => void} forgotten  called once, before; every request that waited has failed
 * @property {() => Promise<object>} fields  of `enter`
 * @property {(answer: any) => void} entered  called with the answer, before anything else arrives
 */
/**
 * A conversation with the server over one WebSocket after another. Every message of the server has a number, so that the next
 * WebSocket begins where the last one broke.
 */
export class Signaling {
    /**
     * @param {string | URL} url  `ws:` or `wss:`
     * @returns {Promise<Signaling>}
     * @throws {RoomcastError} `unreachable`
     */
    static open(url: string | URL): Promise<Signaling>;
    /** Use [`Signaling.open`]. @param {string | URL} url @param {WebSocket} socket  open */
    constructor(url: string | URL, socket: WebSocket);
    /** Called with every event of the server. @type {(event: any) => void} */
    onEvent: (event: any) => void;
    /** Called when the connection broke, and when it stands again. @type {(state: 'reconnecting' | 'connected') => void} */
    onConnection: (state: "reconnecting" | "connected") => void;
    /** Without, a conversation that cannot be resumed is over. @type {Comeback | null} */
    comeback: Comeback | null;
    /** Called once, when it is over. @type {(reason: RoomcastError) => void} */
    onClosed: (reason: RoomcastError) => void;
    /**
     * Sends a request and waits for its answer, across broken connections if need be.
     * @param {string} type
     * @param {object} [fields]
     * @returns {Promise<any>} the fields of the answer
     * @throws {RoomcastError} with the server's code, or `closed`, or `timeout`
     */
    request(type: string, fields?: object): Promise<any>;
    /** Requests go out at once. */
    get isConnected(): boolean;
    /** Sends a heartbeat. If nothing at all comes back in time the connection counts as broken, whatever the system says of it. */
    beat(): Promise<void>;
    /** Ends the conversation and every request that still waits. @param {RoomcastError} reason */
    close(reason: RoomcastError): void;
    #private;
}
/**
 * How to enter anew when the server has forgotten us: it was restarted, or we were away for too long.
 */
export type Comeback = {
    /**
     * called once, before; every request that waited has failed
     */
    forgotten: () => void;
    /**
     * of `enter`
     */
    fields: () => Promise<object>;
    /**
     * called with the answer, before anything else arrives
     */
    entered: (answer: any) => void;
};
