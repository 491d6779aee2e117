// Readings as a chart's columns. A hole in the data is a gap in the line, never a straight stroke across it. Pure.
import type { RollupColumns } from '@/api/types'

export interface Sample {
  at: number
  value: number | null
}
/** A silence longer than this many periods breaks the line; the same factor calls a value stale. */
export const GAP_PERIODS = 3

/** Columns in seconds, ascending, one `null` after the last sample before each gap. */
export function withGaps(samples: readonly Sample[], periodS: number): { xs: number[]; ys: (number | null)[] } {
  const xs: number[] = []
  const ys: (number | null)[] = []
  const limit = Math.max(1, periodS) * GAP_PERIODS * 1000
  let before: number | null = null
  for (const { at, value } of [...samples].sort((a, b) => a.at - b.at)) {
    if (before !== null && at - before > limit) {
      xs.push((before + 1) / 1000)
      ys.push(null)
    }
    xs.push(at / 1000)
    ys.push(value)
    before = at
  }
  return { xs, ys }
}

export interface Step {
  at: number
  min: number | null
  max: number | null
  mean: number | null
}
export interface Window extends Step {
  min: number
  max: number
  mean: number
  count: number
}
/** Windows from the server's columns, times in ms. */
export function windows(columns: Pick<RollupColumns, 'at_us' | 'min' | 'max' | 'mean' | 'count'>): Window[] {
  return columns.at_us.map((us, i) => ({ at: us / 1000, min: columns.min[i]!, max: columns.max[i]!, mean: columns.mean[i]!, count: columns.count[i]! }))
}
/** Windows as a chart's columns; a missing step becomes a gap. */
export function stepsWithGaps(rows: readonly Step[], stepS: number) {
  const xs: number[] = []
  const min: (number | null)[] = []
  const max: (number | null)[] = []
  const mean: (number | null)[] = []
  let before: number | null = null
  for (const row of rows) {
    if (before !== null && row.at - before > stepS * 1500) {
      xs.push(before / 1000 + stepS)
      min.push(null)
      max.push(null)
      mean.push(null)
    }
    xs.push(row.at / 1000)
    min.push(row.min)
    max.push(row.max)
    mean.push(row.mean)
    before = row.at
  }
  return { xs, min, max, mean }
}

/** Raw up to what a screen can show and the server gives in one answer; beyond that minutes, hours, days. */
export function stepFor(spanMs: number, periodS: number): 'raw' | '60s' | '1h' | '1d' {
  if (spanMs / 1000 / Math.max(1, periodS) <= 6_000) return 'raw'
  const hours = spanMs / 3600_000
  if (hours <= 48) return '60s'
  return hours <= 24 * 200 ? '1h' : '1d'
}
export const STEP_S = { '60s': 60, '1h': 3600, '1d': 86_400 } as const
