/** The console's requests: its own, and those of the HTTP API, both with the session of whoever logged in. */

const KEPT_AS = 'roomcast.console'

/** A refusal, with the server's code. */
export class ApiError extends Error {
  /** @param {number | string} code @param {string} message @param {string} [advice] */
  constructor(code, message, advice = '') {
    super(message)
    this.code = code
    this.advice = advice
  }
}

/** Called when the session is over. @type {() => void} */
let onLoggedOut = () => {}

/** @param {() => void} callback */
export const whenLoggedOut = (callback) => (onLoggedOut = callback)

export const isLoggedIn = () => sessionStorage.getItem(KEPT_AS) !== null

/** @param {string} password */
export async function login(password) {
  const { token } = await ask('POST', '/console/api/login', { password })
  sessionStorage.setItem(KEPT_AS, token)
}

export async function logout() {
  await ask('POST', '/console/api/logout').catch(() => {})
  sessionStorage.removeItem(KEPT_AS)
  onLoggedOut()
}

/**
 * @param {string} method @param {string} path @param {object} [body]
 * @returns {Promise<any>} the answer's fields; null if there are none
 * @throws {ApiError}
 */
export async function ask(method, path, body) {
  const token = sessionStorage.getItem(KEPT_AS)
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { 'Content-Type': 'application/json' }) }
  let response
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) })
  } catch {
    throw new ApiError('unreachable', 'The server does not answer.', 'Look whether it runs; this page goes on trying.')
  }
  if (response.status === 204) return null
  const answer = await response.json().catch(() => ({}))
  if (response.ok) return answer
  const { code = response.status, message = response.statusText, advice } = answer
  if (response.status === 401 && token && path !== '/console/api/login') {
    sessionStorage.removeItem(KEPT_AS)
    onLoggedOut()
  }
  throw new ApiError(code, message, advice)
}

/** A path of one app. @param {number} app @param {...(string | number)} parts */
export const appPath = (app, ...parts) => `/api/v1/apps/${app}/${parts.map((part) => encodeURIComponent(String(part))).join('/')}`

/** Every entry of a list that comes in pages. @param {string} path @param {string} field @returns {Promise<any[]>} */
export async function list(path, field) {
  const all = []
  for (let after = null; ; ) {
    const answer = await ask('GET', `${path}?${new URLSearchParams({ limit: '1000', ...(after !== null && { after }) })}`)
    all.push(...answer[field])
    after = answer.next ?? null
    if (after === null) return all
  }
}

/** @returns {Promise<{ sdkAppID: number, name: string }[]>} */
export const apps = async () => (await ask('GET', '/api/v1/apps')).apps
