// Figures of the network as a page shows them: in words, signs and lengths, none of which needs a colour.
import type { NetworkingRate } from '@/api/types'

export const RATES = ['built', 'networked', 'online', 'complete'] as const

/** A share for people. Never rounded up to 100 %: nobody is missing only if nobody is. */
export function percent(share: number | null): string {
  if (share === null) return '—'
  const rounded = Math.floor(share * 1000 + 1e-9) / 10
  return `${rounded.toFixed(1)}%`
}

/** The same as a length. */
export function width(share: number | null): string {
  return `${Math.min(Math.max(share ?? 0, 0), 1) * 100}%`
}

/** Whether what is asked is reached; `none` if nobody asks, or there is nothing to count. */
export function metOf(rate: Pick<NetworkingRate, 'met'>): 'met' | 'missed' | 'none' {
  return rate.met === null ? 'none' : rate.met ? 'met' : 'missed'
}
export const MET_SIGNS = { met: '✓', missed: '✕', none: '' } as const
