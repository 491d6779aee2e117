// The newest position of every vehicle, moving with the live link. Redraws at most once a second. Start at [`useVehiclesLatest`].
import { onScopeDispose, shallowRef } from 'vue'
import { all } from '@/api/client'
import type { VehicleLatest } from '@/api/types'
import { useSnapshot, useTopic } from '@/live/live'

const DRAW_MS = 1000

/** Takes `changes` into `held`; a position older than the one shown is a late replay and is left out. */
export function take(held: Map<string, VehicleLatest>, changes: readonly VehicleLatest[]) {
  for (const change of changes) {
    const before = held.get(change.id)
    if (!before || before.at <= change.at) held.set(change.id, change)
  }
}

export function useVehiclesLatest() {
  const rows = shallowRef<VehicleLatest[]>([])
  const error = shallowRef<unknown>(null)
  const held = new Map<string, VehicleLatest>()
  let timer: ReturnType<typeof setTimeout> | null = null

  function redraw() {
    timer ??= setTimeout(() => {
      timer = null
      if (!document.hidden) rows.value = [...held.values()]
    }, DRAW_MS)
  }
  async function fetch() {
    try {
      take(held, await all<'vehicles', VehicleLatest>('/vehicles/latest', 'vehicles'))
      rows.value = [...held.values()]
      error.value = null
    } catch (problem) {
      error.value = problem
    }
  }
  useTopic<VehicleLatest>('vehicles', (changes) => {
    take(held, changes)
    redraw()
  })
  useSnapshot(() => void fetch())
  onScopeDispose(() => timer && clearTimeout(timer))
  void fetch()
  return { rows, error, fetch }
}
