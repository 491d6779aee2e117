// One way to ask the server: JSON in and out, the CSRF token on unsafe methods, problems as one error type.
// Never decides what a page shows. Start at [`api`].
import type { Problem } from './types'

/** An answer the server refused to give, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problems: Problem[],
    readonly trace: string | null,
  ) {
    super(problems[0]?.code ?? `http ${status}`)
  }
  get code(): string {
    return this.problems[0]?.code ?? (this.status === 0 ? 'network' : `http.${this.status}`)
  }
}

type Query = Record<string, string | number | boolean | null | undefined>

/** What the session area plugs in: the token to send, and what to do when acting needs a fresh sign-in. */
export const hooks = {
  csrf: () => '',
  /** Asked on 401 to an unsafe request. Resolves true when the person signed in again; the request is then sent once more. */
  reauthenticate: (_mode: 'idle' | 'expired'): Promise<boolean> => Promise.resolve(false),
  /** Told on 401 to a read: the session is gone, what is on the screen stays. */
  expired: () => {},
  demo: () => {},
}

export function withQuery(path: string, query?: Query): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== '') search.set(key, String(value))
  }
  const text = search.toString()
  return text ? `${path}?${text}` : path
}

async function problemOf(response: Response): Promise<ApiError> {
  try {
    const body = (await response.json()) as { errors?: Problem[]; trace?: string }
    return new ApiError(response.status, body.errors ?? [], body.trace ?? null)
  } catch {
    // A proxy's error page, say: only the status is known.
    return new ApiError(response.status, [], null)
  }
}

interface Options {
  query?: Query
  /** A file goes as it is; everything else as JSON. */
  body?: unknown
  signal?: AbortSignal
  /** Told how much of a file has left; only then the slower way that can say so is taken. */
  progress?: (part: number) => void
  /** Sign-in itself: a 401 is the answer, not a reason to ask again. */
  bare?: boolean
}

async function send(method: string, path: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = { 'Accept-Language': document.documentElement.lang || 'zh-CN' }
  const file = options.body instanceof Blob ? options.body : null
  if (options.body !== undefined) headers['Content-Type'] = file ? file.type || 'application/octet-stream' : 'application/json'
  if (method !== 'GET') headers['X-CSRF-Token'] = hooks.csrf()
  if (file && options.progress) return sendTelling(method, `/api/v1${withQuery(path, options.query)}`, headers, file, options.progress, options.signal)
  try {
    return await fetch(`/api/v1${withQuery(path, options.query)}`, {
      method,
      headers,
      body: options.body === undefined ? undefined : (file ?? JSON.stringify(options.body)),
      signal: options.signal,
      credentials: 'same-origin',
    })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiError(0, [{ code: 'network', detail: '', params: {} }], null)
  }
}

/** The same for a file on its way: `fetch` does not say how much has left. */
function sendTelling(method: string, url: string, headers: Record<string, string>, file: Blob, progress: (part: number) => void, signal?: AbortSignal): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open(method, url)
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total)
    request.onload = () => resolve(new Response(request.status === 204 ? null : request.responseText, { status: request.status, headers: { 'X-Anlan-Demo': request.getResponseHeader('X-Anlan-Demo') ?? '' } }))
    request.onerror = () => reject(new ApiError(0, [{ code: 'network', detail: '', params: {} }], null))
    request.onabort = () => reject(new DOMException('aborted', 'AbortError'))
    signal?.addEventListener('abort', () => request.abort())
    request.send(file)
  })
}

/** The server's answer, once it is one; signs in again on the way where acting needs it. */
async function ask(method: string, path: string, options: Options): Promise<Response> {
  let response = await send(method, path, options)
  if (response.status === 401 && !options.bare) {
    const problem = await problemOf(response)
    const idle = problem.code === 'session.idle'
    if (method === 'GET') {
      if (!idle) hooks.expired()
      throw problem
    }
    if (!(await hooks.reauthenticate(idle ? 'idle' : 'expired'))) throw problem
    response = await send(method, path, options)
  }
  if (response.headers.get('X-Anlan-Demo') === '1') hooks.demo()
  if (!response.ok) throw await problemOf(response)
  return response
}

async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const response = await ask(method, path, options)
  if (response.status === 204) return undefined as T
  return (await response.json()) as T
}

export const api = {
  get: <T>(path: string, query?: Query, signal?: AbortSignal) => request<T>('GET', path, { query, signal }),
  post: <T>(path: string, body: unknown = {}, options: Options = {}) => request<T>('POST', path, { ...options, body }),
  put: <T>(path: string, body: unknown) => request<T>('PUT', path, { body }),
  patch: <T>(path: string, body: unknown) => request<T>('PATCH', path, { body }),
  delete: <T>(path: string, body?: unknown) => request<T>('DELETE', path, { body }),
  /** Posts and takes a file in answer. */
  file: async (path: string, body: unknown, query?: Query) => (await ask('POST', path, { body, query })).blob(),
}

/** The most rows the server gives in one page. */
export const PAGE_MOST = 1000

/**
 * Every page of a list, up to `most` rows: registers of a region fit, a history does not. Pass `limit: PAGE_MOST` for a
 * list that has pages; the server refuses query words it does not know.
 */
export async function all<K extends string, T>(path: string, noun: K, query: Query = {}, most = 20_000): Promise<T[]> {
  const rows: T[] = []
  let cursor: string | null = null
  do {
    const page: Record<K, T[]> & { next: string | null } = await api.get(path, { ...query, cursor })
    rows.push(...page[noun])
    cursor = page.next
  } while (cursor && rows.length < most)
  return rows
}
