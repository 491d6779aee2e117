// The live link: one WebSocket that carries every topic, resumes by token after a break and says how fresh it is.
//
// Never touches the DOM or a store; sockets, time and chance come in as arguments so that tests own them.
// Start at [`LiveLink`]. What the messages mean is the topics' business (alarms.ts, vehicles.ts).

/** `live`: heard lately. `late`: silent longer than a ping. `down`: silent for ten seconds or no socket. */
export type LinkState = 'connecting' | 'live' | 'late' | 'down'

export interface SocketLike {
  send(text: string): void
  close(): void
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: (() => void) | null
}

export interface LinkParts {
  open(): SocketLike
  now(): number
  after(ms: number, run: () => void): () => void
  random(): number
}

/** Something wrong with the node itself, as its pings tell. */
export interface Trouble {
  trouble: 'log' | 'engine' | 'database' | 'clock_off' | 'clock_loose' | 'clock_stepped' | 'life'
  seconds: number | null
  since: string | null
}

type Message =
  | { topic: string; token?: string | null; data: unknown[] }
  | { event: 'ping'; now?: string; token?: string | null; troubles?: Trouble[] | null }
  | { event: 'snapshot'; token?: string | null }

/** The server pings every 5 s; a missed one is worth saying, two are a broken link. */
export const LATE_MS = 7_000
export const DOWN_MS = 10_000
const BACKOFF_FIRST_MS = 500
const BACKOFF_MAX_MS = 15_000

export class LiveLink {
  /** Called after anything that may change [`state`] or [`lastHeardAt`]. */
  onChange: () => void = () => {}
  /** The server's clock, as pings tell it. */
  onNow: (now: string) => void = () => {}
  /** What is wrong with the node, worst first; empty when nothing is. */
  onTroubles: (troubles: Trouble[]) => void = () => {}

  private socket: SocketLike | null = null
  private open = false
  private stopped = true
  private token: string | null = null
  private attempts = 0
  private heardAt: number | null = null
  private startedAt = 0
  private cancelRetry: (() => void) | null = null
  private cancelWatch: (() => void) | null = null
  private readonly topics = new Map<string, Set<(data: unknown[]) => void>>()
  private readonly snapshots = new Set<() => void>()

  constructor(private readonly parts: LinkParts) {}

  get lastHeardAt(): number | null {
    return this.heardAt
  }
  get state(): LinkState {
    const silence = this.silenceMs
    if (this.heardAt === null) return silence < DOWN_MS ? 'connecting' : 'down'
    if (silence >= DOWN_MS) return 'down'
    return silence >= LATE_MS || !this.open ? 'late' : 'live'
  }
  /** Milliseconds since anything was heard (since the start while nothing was). */
  get silenceMs(): number {
    return this.parts.now() - (this.heardAt ?? this.startedAt)
  }

  start() {
    if (!this.stopped) return
    this.stopped = false
    this.startedAt = this.parts.now()
    this.connect()
    this.watch()
  }

  stop() {
    this.stopped = true
    this.cancelRetry?.()
    this.cancelWatch?.()
    this.drop()
    this.token = null
    this.heardAt = null
    this.attempts = 0
    this.onChange()
  }

  /** Hears `topic` until the returned function is called. Topics are counted, so two views may share one. */
  subscribe(topic: string, handler: (data: unknown[]) => void): () => void {
    const handlers = this.topics.get(topic)
    if (handlers) handlers.add(handler)
    else {
      this.topics.set(topic, new Set([handler]))
      this.sayTopics()
    }
    return () => {
      const held = this.topics.get(topic)
      if (!held?.delete(handler) || held.size > 0) return
      this.topics.delete(topic)
      this.sayTopics()
    }
  }

  /** Called when deltas cannot be trusted to be complete: fetch the lists again. */
  onSnapshot(handler: () => void): () => void {
    this.snapshots.add(handler)
    return () => this.snapshots.delete(handler)
  }

  private sayTopics() {
    if (this.open) this.socket?.send(JSON.stringify({ topics: [...this.topics.keys()] }))
  }

  private connect() {
    this.cancelRetry = null
    const socket = this.parts.open()
    this.socket = socket
    socket.onopen = () => {
      if (this.socket !== socket) return
      this.open = true
      socket.send(JSON.stringify({ topics: [...this.topics.keys()], resume: this.token }))
      this.onChange()
    }
    socket.onmessage = (event) => {
      if (this.socket === socket && typeof event.data === 'string') this.hear(event.data)
    }
    socket.onclose = () => {
      if (this.socket !== socket) return
      this.drop()
      this.retry()
      this.onChange()
    }
  }

  private retry() {
    if (this.stopped || this.cancelRetry) return
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.attempts)
    this.attempts += 1
    // Between half and the whole: a restarted server is not met by every console at once.
    this.cancelRetry = this.parts.after(ceiling * (0.5 + this.parts.random() / 2), () => this.connect())
  }

  private drop() {
    const socket = this.socket
    this.socket = null
    this.open = false
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
  }

  /** A dead TCP peer sends no close: silence itself ends the socket. */
  private watch() {
    if (this.stopped) return
    if (this.open && this.silenceMs >= DOWN_MS) {
      this.drop()
      this.retry()
    }
    this.onChange()
    this.cancelWatch = this.parts.after(1000, () => this.watch())
  }

  private hear(text: string) {
    let message: Message
    try {
      message = JSON.parse(text) as Message
    } catch {
      return
    }
    this.heardAt = this.parts.now()
    this.attempts = 0
    if ('event' in message) {
      if (message.event === 'snapshot') {
        // The lists are fetched after this token, so a change in between is heard twice rather than not at all.
        this.token = message.token ?? null
        for (const handler of [...this.snapshots]) handler()
      } else if (message.event === 'ping') {
        if (message.token) this.token = message.token
        if (message.now) this.onNow(message.now)
        this.onTroubles(message.troubles ?? [])
      }
    } else if (Array.isArray(message.data)) {
      // Hand over first, remember after: if a handler throws, the change is asked for again.
      for (const handler of [...(this.topics.get(message.topic) ?? [])]) handler(message.data)
      if (message.token) this.token = message.token
    }
    this.onChange()
  }
}
