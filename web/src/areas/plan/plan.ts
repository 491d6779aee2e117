// A plan's state in signs and words, none of which needs a colour; what pages of a plan share. Start at [`usePlan`].
import { computed, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRoute, useRouter } from 'vue-router'
import { api } from '@/api/client'
import type { FactSource, IndicatorList, PlanReason, PlanRow, PlanTarget } from '@/api/types'
import { useSectors } from '@/areas/enterprise/sector'

export const STATES = ['met', 'on_path', 'off_path', 'missed', 'cannot_be_computed'] as const
export type State = (typeof STATES)[number]
export const STATE_SIGNS: Record<State, string> = { met: '✓', on_path: '→', off_path: '▲', missed: '✕', cannot_be_computed: '?' }
export const MARKS = ['reported', 'published', 'derived', 'invented'] as const

/** A figure with the places of its definition; "—" for nothing. */
export function figure(value: number | null | undefined, decimals: number): string {
  return value === null || value === undefined ? '—' : value.toFixed(decimals)
}

/** A number as it is, without false places. */
export function plain(value: number | null | undefined): string {
  return value === null || value === undefined ? '—' : String(value)
}

/** Figure, direction and what is asked, in one cell. */
export function against(target: Pick<PlanTarget, 'value' | 'decimals' | 'target' | 'direction'>): string {
  const now = figure(target.value, target.decimals)
  if (target.target === null || target.target === undefined) return now
  return `${now} ${target.direction === '<=' ? '≤' : target.direction === '>=' ? '≥' : ''} ${plain(target.target)}`
}

/** Part of the longest, for a bar. */
export function share(value: number | null | undefined, all: readonly (number | null | undefined)[]): string {
  const most = Math.max(0, ...all.map((v) => v ?? 0))
  return `${most > 0 ? (Math.max(0, value ?? 0) / most) * 100 : 0}%`
}

/** Each heading that has targets below it, with its depth; headings without any are left out. */
export function outline<N extends { id: string; parent: string }, T extends { node: string }>(nodes: readonly N[], targets: readonly T[]): { node: N; depth: number; targets: T[] }[] {
  const parent = new Map(nodes.map((node) => [node.id, node.parent]))
  const used = new Set<string>()
  for (const target of targets) {
    for (let id: string | undefined = target.node; id && !used.has(id); id = parent.get(id)) used.add(id)
  }
  const depth = (id: string): number => {
    const above = parent.get(id)
    return above ? depth(above) + 1 : 0
  }
  return nodes.filter((node) => used.has(node.id)).map((node) => ({ node, depth: depth(node.id), targets: targets.filter((target) => target.node === node.id) }))
}

const plans = shallowRef<PlanRow[] | null>(null)
const definitions = shallowRef<IndicatorList | null>(null)

/** Plans and definitions, read once; the plan and the day that the address names. */
export function usePlan() {
  const { t, te, locale } = useI18n()
  const route = useRoute()
  const router = useRouter()
  const sectorName = useSectors()
  const text = (name: string) => (typeof route.query[name] === 'string' ? (route.query[name] as string) : '')
  const go = (query: Record<string, string | undefined>) => void router.replace({ query: { ...route.query, ...query } })
  const bound = (name: string) => computed({ get: () => text(name), set: (value: string) => go({ [name]: value || undefined }) })
  const asOf = bound('as_of')
  const chosen = bound('plan')
  const plan = computed(() => plans.value?.find((p) => p.id === chosen.value) ?? plans.value?.[0] ?? null)
  async function read(signal?: AbortSignal) {
    plans.value ??= (await api.get<{ plans: PlanRow[] }>('/plans', {}, signal)).plans
    definitions.value ??= await api.get<IndicatorList>('/indicators', {}, signal)
    return plan.value
  }
  const named = (of: { name: string; name_en: string } | null | undefined) => (of ? (locale.value === 'en' ? of.name_en : of.name) : '')
  const sources = computed(() => new Map((definitions.value?.sources ?? []).map((source) => [source.id, source])))
  const source = (id: string | null | undefined): FactSource | null => (id ? (sources.value.get(id) ?? null) : null)
  const sourceName = (id: string | null | undefined) => named(source(id)) || id || ''
  const indicatorName = (id: string | null | undefined) => named(definitions.value?.indicators.find((i) => i.id === id)) || id || ''
  /** Sectors of accidents are words of their own. */
  const sector = (id: string) => (id ? (te(`plan.sector.${id}`, 'zh-CN') ? t(`plan.sector.${id}`) : sectorName(id)) : '')
  const unit = (of: { unit?: string | null; unit_zh?: string | null }) => (locale.value === 'en' ? of.unit : of.unit_zh) ?? ''
  const confidence = (word: string) => (te(`confidence.${word}`) ? t(`confidence.${word}`) : word)
  /** Why, as a person reads it. */
  function sentence(reason: PlanReason | null | undefined): string {
    if (!reason) return ''
    const below = sourceName(reason.below)
    return t(`plan.reason.${reason.code}`, {
      value: plain(reason.value),
      whole: plain(reason.whole),
      on: reason.on ?? '',
      from: reason.from ?? '',
      to: reason.to ?? '',
      year: reason.year ?? '',
      source: sourceName(reason.source) + (reason.sector ? `（${sector(reason.sector)}）` : ''),
      below,
      below_on: reason.below_on ?? '',
      indicator: indicatorName(reason.indicator),
    })
  }
  return { plans, plan, definitions, asOf, chosen, text, go, bound, read, named, source, sourceName, indicatorName, sector, unit, confidence, sentence }
}
