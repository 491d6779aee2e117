// Alarms on this side of the wire: order, merging and what a person may still do. Pure; tests beside it.
// The state machine itself is the server's; here is only what can be read off a row.
import type { Alarm, AlarmState, Level } from '@/api/types'

export const LEVELS: readonly Level[] = ['red', 'orange', 'yellow', 'blue']
export const STATES: readonly AlarmState[] = ['raised', 'acknowledged', 'returned', 'closed']
export const SHAPE: Record<Level, string> = { red: '◆', orange: '▲', yellow: '■', blue: '●' }

export const rank = (level: Level) => LEVELS.indexOf(level)

/** Raised or returned, and nobody has said "seen". */
export const unacknowledged = (a: Alarm) => a.state !== 'closed' && !a.acknowledged_at
/** The condition still stands: closing will be refused. */
export const standing = (a: Alarm) => a.state !== 'closed' && !a.returned_at
export const open = (a: Alarm) => a.state !== 'closed'

/** The newest thing that happened to the alarm; RFC 3339 UTC of one width compares as text. */
export function changedAt(a: Alarm): string {
  let newest = a.raised_at
  for (const at of [a.acknowledged_at, a.returned_at, a.closed_at]) if (at && at > newest) newest = at
  return newest
}

/**
 * The row to keep of two versions of one alarm. A replay after a reconnect may bring an older one than the list
 * that was fetched meanwhile; with equal stamps the incoming wins, because its value may be newer.
 */
export function newer(held: Alarm | undefined, incoming: Alarm): Alarm {
  return held && changedAt(held) > changedAt(incoming) ? held : incoming
}

/** Duty order: unacknowledged first, then worst level, then newest, then id so that the order is total. */
export function byUrgency(a: Alarm, b: Alarm): number {
  return (
    Number(unacknowledged(b)) - Number(unacknowledged(a)) ||
    rank(a.level) - rank(b.level) ||
    (a.raised_at < b.raised_at ? 1 : a.raised_at > b.raised_at ? -1 : 0) ||
    (a.id < b.id ? 1 : -1)
  )
}

export interface AlarmFilter {
  levels: Level[]
  states: AlarmState[]
  region: string
  enterprise: string
  q: string
}

/** Whether a live alarm belongs to a list fetched with `filter`; mirrors the server's query. */
export function matches(a: Alarm, filter: AlarmFilter): boolean {
  if (filter.levels.length && !filter.levels.includes(a.level)) return false
  if (filter.states.length && !filter.states.includes(a.state)) return false
  if (filter.region && !(a.region ?? '').startsWith(filter.region)) return false
  if (filter.enterprise && a.enterprise !== filter.enterprise) return false
  const q = filter.q.trim().toLowerCase()
  return !q || `${a.name} ${a.enterprise_name ?? ''} ${a.rule}`.toLowerCase().includes(q)
}

/** Splits live changes into rows already listed (replace in place) and new ones (wait behind the chip). */
export function split(listed: ReadonlyMap<string, Alarm>, waiting: ReadonlyMap<string, Alarm>, changes: Alarm[], filter: AlarmFilter) {
  const replace: Alarm[] = []
  const arrive: Alarm[] = []
  for (const change of changes) {
    const held = listed.get(change.id)
    if (held) {
      if (newer(held, change) === change) replace.push(change)
    } else if (waiting.has(change.id) || matches(change, filter)) {
      arrive.push(newer(waiting.get(change.id), change))
    }
  }
  return { replace, arrive }
}
