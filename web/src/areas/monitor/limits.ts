// The limits a point is judged by as lines on a chart, and whether limits that a person typed can stand together.
import type { JudgedLimit, Limits } from '@/api/types'
import type { LimitLine } from '@/components/LineChart.vue'

/** Value and colour both come from the server: its packs say which level a limit raises. */
export function limitLines(judged: readonly JudgedLimit[], t: (key: string) => string): LimitLine[] {
  return judged.map(({ kind, level, threshold }) => ({ value: threshold, level, label: `${t(`rule.${kind}`)} ${threshold}` }))
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
