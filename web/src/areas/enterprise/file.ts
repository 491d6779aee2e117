// What the page of one enterprise says, from what several endpoints answered. Pure. Start at [`sorted`], [`tally`] and [`told`].
import type { AuditEntry, PointLatest } from '@/api/types'
import { rank } from '@/areas/alarm/alarm'

/** How many records something follows, as far as they were read: `more` means at least so many. */
export interface Tally {
  open: number
  late: number
  more: boolean
}
export const tally = (rows: readonly { overdue: boolean }[], next: string | null): Tally => ({ open: rows.length, late: rows.filter((r) => r.overdue).length, more: next !== null })

/** Nothing came for longer than its period allows, or ever. */
export const silent = (p: PointLatest) => p.latest === null || p.latest === undefined || p.latest.stale
/** Points that need a look first: by level, then those that are silent, then by site and name. */
export const sorted = (points: readonly PointLatest[]): PointLatest[] =>
  [...points].sort((a, b) => place(a) - place(b) || (a.site ?? '').localeCompare(b.site ?? '', 'zh') || a.name.localeCompare(b.name, 'zh') || (a.id < b.id ? -1 : 1))
const place = (p: PointLatest) => (p.level ? rank(p.level) : silent(p) ? 4 : 5)

/** Those of the enterprise itself first: they are asked first. Who keeps the system or shows a wall screen answers for nothing. */
export function accountable<T extends { roles: string[] }>(people: readonly T[]): T[] {
  const outside = (p: T) => Number(!p.roles.some((r) => r === 'safety_manager' || r === 'worker'))
  return people.filter((p) => p.roles.some((r) => r !== 'administrator' && r !== 'screen')).sort((a, b) => outside(a) - outside(b))
}

export interface Change {
  field: string
  /** `null` = it was made so. */
  before: string | null
  after: string
}
export interface Told {
  id: string
  at: string
  who: string | null
  action: string
  changes: Change[]
}
const FIELDS = ['code', 'name', 'region', 'sector', 'place'] as const
type Json = Record<string, unknown>
const text = (value: unknown): string => {
  if (value === null || value === undefined || value === '') return '—'
  if (typeof value === 'object' && 'lon' in value && 'lat' in value) return `${Number(value.lon).toFixed(6)}, ${Number(value.lat).toFixed(6)}`
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
/** Entries of the audit about an enterprise, each with the fields that it gave or changed. */
export function told(entries: readonly AuditEntry[]): Told[] {
  return entries.map((e) => {
    const detail = (e.detail ?? {}) as Json
    const changes = FIELDS.flatMap((field): Change[] => {
      if (!(field in detail)) return []
      const value = detail[field]
      return Array.isArray(value) ? [{ field, before: text(value[0]), after: text(value[1]) }] : [{ field, before: null, after: text(value) }]
    })
    return { id: e.id, at: e.at, who: e.user ? e.name : null, action: e.action, changes }
  })
}
