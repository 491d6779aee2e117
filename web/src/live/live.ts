// The console's one live link and the server's clock, as Vue state. Start at [`useLive`] and [`useClock`].
import { onScopeDispose, readonly, ref, shallowRef } from 'vue'
import { hooks } from '@/api/client'
import { LiveLink, type LinkState, type Trouble } from './link'

/** Close code of the live stream when its session was ended. */
const SESSION_ENDED = 4401

export const link = new LiveLink({
  open: () => {
    const url = new URL('/api/v1/live', location.href)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    // The server's word that the session has ended; the page stays lit and says so.
    socket.addEventListener('close', (event) => {
      if (event.code === SESSION_ENDED) hooks.expired()
    })
    return socket as never
  },
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
  random: Math.random,
})

const state = ref<LinkState>('connecting')
const silenceS = ref(0)
const lastAt = shallowRef<number | null>(null)

// Server time minus browser time. A test clock may be years away; ages must still be right.
let offsetMs = 0
const now = ref(Date.now())
setInterval(() => (now.value = Date.now() + offsetMs), 1000)

/** Takes the server's word for the time. */
export function setServerNow(at: string) {
  const ms = Date.parse(at)
  if (Number.isNaN(ms)) return
  offsetMs = ms - Date.now()
  now.value = ms
}

const troubles = shallowRef<Trouble[]>([])
link.onNow = setServerNow
link.onTroubles = (found) => (troubles.value = found)
link.onChange = () => {
  state.value = link.state
  silenceS.value = Math.floor(link.silenceMs / 1000)
  const heard = link.lastHeardAt
  lastAt.value = heard === null ? null : Date.now() + offsetMs - (performance.now() - heard)
}

/** Freshness of the link: its state, seconds of silence, and the server time of the last sign of life. */
export function useLive() {
  return { state: readonly(state), silenceS: readonly(silenceS), lastAt: readonly(lastAt), troubles: readonly(troubles) }
}

/** The server's clock, once a second. */
export function useClock() {
  return readonly(now)
}
export const serverNow = () => Date.now() + offsetMs

/** Subscribes for the life of the calling component. */
export function useTopic<T>(topic: string, handler: (data: T[]) => void) {
  onScopeDispose(link.subscribe(topic, handler as (data: unknown[]) => void))
}
/** Runs `refetch` when the server can no longer replay what was missed. */
export function useSnapshot(refetch: () => void) {
  onScopeDispose(link.onSnapshot(refetch))
}
