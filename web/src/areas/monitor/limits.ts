// The limits of a point as lines on a chart. Which colour a limit has is the base pack's choice; kept in step with alarm_rules.toml.
import type { Level, Limits } from '@/api/types'
import type { LimitLine } from '@/components/LineChart.vue'

export const LIMITS: readonly { key: 'hh' | 'h' | 'l' | 'll'; level: Level }[] = [
  { key: 'hh', level: 'red' },
  { key: 'h', level: 'yellow' },
  { key: 'l', level: 'yellow' },
  { key: 'll', level: 'red' },
]

export function limitLines(limits: Limits, t: (key: string) => string): LimitLine[] {
  return LIMITS.flatMap(({ key, level }) => {
    const value = limits[key]
    return value === null || value === undefined ? [] : [{ value, level, label: `${t(`rule.${key}`)} ${value}` }]
  })
}

/** Why these limits cannot stand together, by field; empty when they can. */
export function limitProblems(limits: Limits): { field: string; code: 'order' | 'negative' }[] {
  const problems: { field: string; code: 'order' | 'negative' }[] = []
  const ladder = (['ll', 'l', 'h', 'hh'] as const).filter((k) => typeof limits[k] === 'number')
  for (let i = 1; i < ladder.length; i++) {
    const low = ladder[i - 1]!
    const high = ladder[i]!
    if (limits[low]! >= limits[high]!) problems.push({ field: high, code: 'order' })
  }
  for (const key of ['deadband', 'on_delay_s', 'off_delay_s', 'rate_per_min'] as const) {
    if ((limits[key] ?? 0) < 0) problems.push({ field: key, code: 'negative' })
  }
  return problems
}
