/**
 * Enough of a mini-program's world to run its components: the vendor's own simulator draws them into a made-up page, and what it leaves to
 * the phone (sockets, pusher, players) is given here: real sockets, and a record of what pusher and players were told.
 */

import { createRequire } from 'node:module'

import { JSDOM } from 'jsdom'
import WebSocket from 'ws'

const NAMES = ['document', 'navigator', 'HTMLElement', 'Element', 'Node', 'Text', 'Comment', 'DocumentFragment', 'Event', 'CustomEvent', 'MutationObserver', 'getComputedStyle', 'requestAnimationFrame']

const { window } = new JSDOM('<!doctype html><body></body>', { url: 'http://localhost/', pretendToBeVisual: true })
Object.defineProperty(globalThis, 'window', { value: window, configurable: true, writable: true })
for (const name of NAMES) Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true })

const simulate = createRequire(import.meta.url)('miniprogram-simulate')

/** What contexts of pusher and players were told, in order. @type {string[]} */
export const told = []
/** Every socket that was opened. @type {WebSocket[]} */
export const sockets = []

const context = (/** @type {string} */ name) => new Proxy({}, { get: (_, method) => () => told.push(`${name}.${String(method)}`) })

Object.assign(globalThis.wx, {
  createLivePusherContext: () => context('pusher'),
  createLivePlayerContext: (/** @type {string} */ id) => context(id),
  /** @param {any} options */
  request({ url, method = 'GET', data, header, success = () => {}, fail = () => {} }) {
    fetch(url, { method, headers: header, body: method === 'GET' ? undefined : JSON.stringify(data ?? {}) })
      .then(async (response) => success({ data: await response.json(), statusCode: response.status }))
      .catch((error) => fail({ errMsg: String(error) }))
  },
  connectSocket({ url }) {
    const socket = new WebSocket(url)
    sockets.push(socket)
    return {
      onOpen: (/** @type {() => void} */ listener) => socket.on('open', listener),
      onMessage: (/** @type {Function} */ listener) => socket.on('message', (data) => listener({ data: String(data) })),
      onError: (/** @type {Function} */ listener) => socket.on('error', (error) => listener({ errMsg: error.message })),
      onClose: (/** @type {Function} */ listener) => socket.on('close', (code) => listener({ code })),
      send: ({ data }) => socket.send(data),
      close: () => socket.close(),
    }
  },
})

/**
 * A component on a page of its own, with every `RoomEvent` and `IMEvent` that it raised.
 * @param {string} folder  the mini-program's @param {string} path  of the component below it @param {object} properties
 */
export function place(folder, path, properties) {
  const id = simulate.load(`${folder}/${path}`, undefined, { rootPath: folder })
  const component = simulate.render(id, properties)
  component.attach(window.document.body)
  /** @type {{ name: string, tag: string, code: any, detail: any }[]} */
  const events = []
  for (const name of ['RoomEvent', 'IMEvent']) component.addEventListener(name, ({ detail }) => events.push({ name, ...detail }))
  return {
    /** The component itself, as its page sees it. */ room: component.instance,
    events,
    /** What the phone reports of a pusher or player. @param {string} selector @param {string} event @param {object} detail */
    report: (selector, event, detail) => component.querySelector(selector).dispatchEvent(event, { detail }),
    /** @param {string} selector */
    html: (selector) => component.querySelector(selector)?.dom.outerHTML ?? '',
    remove: () => component.detach(),
  }
}
