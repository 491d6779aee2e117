// A key of open data in a form and in words. Pure. Start at [`bodyOf`] and [`boundsText`].
import type { ApiKey } from '@/api/types'

export interface KeyDraft {
  name: string
  holder: string
  datasets: string[]
  region: string
  sector: string
  enterprise: string
  per_minute: number | ''
  per_day: number | ''
  valid_until: string
}

/** A key for a year, with the server's own limits. */
export function freshKey(today: string): KeyDraft {
  // 29 February has no next year; the day before is taken.
  const year = Number(today.slice(0, 4)) + 1
  const rest = today.slice(4) === '-02-29' ? '-02-28' : today.slice(4)
  return { name: '', holder: '', datasets: ['telemetry'], region: '', sector: '', enterprise: '', per_minute: 60, per_day: 10_000, valid_until: `${year}${rest}` }
}

/** Fields that are missing or out of range, in order of the form. */
export function wrongOf(d: KeyDraft): string[] {
  const within = (n: number | '', max: number) => typeof n === 'number' && Number.isInteger(n) && n >= 1 && n <= max
  const checks: [string, boolean][] = [
    ['name', d.name.trim() !== ''],
    ['holder', d.holder.trim() !== ''],
    ['datasets', d.datasets.length > 0],
    ['per_minute', within(d.per_minute, 6_000)],
    ['per_day', within(d.per_day, 5_000_000)],
    ['valid_until', d.valid_until !== ''],
  ]
  return checks.filter(([, fits]) => !fits).map(([field]) => field)
}

/** What is sent; an enterprise has its own division and sector. */
export const bodyOf = (d: KeyDraft) => ({
  name: d.name.trim(),
  holder: d.holder.trim(),
  datasets: d.datasets,
  region: (!d.enterprise && d.region) || null,
  sector: (!d.enterprise && d.sector) || null,
  enterprise: d.enterprise || null,
  per_minute: d.per_minute === '' ? null : d.per_minute,
  per_day: d.per_day === '' ? null : d.per_day,
  valid_until: d.valid_until,
})

export interface BoundWords {
  region: (code: string) => string
  sector: (id: string) => string
  enterprise: (id: string) => string
  whole: string
}
/** Within which bounds a key reads; the whole node only where nothing bounds it. */
export function boundsText(k: Pick<ApiKey, 'region' | 'sector' | 'enterprise'>, words: BoundWords): string {
  const parts = [k.region ? words.region(k.region) : '', k.sector ? words.sector(k.sector) : '', k.enterprise ? words.enterprise(k.enterprise) : ''].filter(Boolean)
  return parts.join(' × ') || words.whole
}
