// Every open alarm the person may see, kept current by the live link: for the header, the screen, and the sound.
// The alarms page keeps its own filtered list. Start at [`useOpenAlarms`].
import { computed, ref, shallowRef } from 'vue'
import { defineStore } from 'pinia'
import { PAGE_MOST, all } from '@/api/client'
import type { Alarm } from '@/api/types'
import { link } from '@/live/live'
import { byUrgency, newer, open, unacknowledged } from './alarm'
import { useSound } from './sound'

/** More than this is a flood; the newest are kept and the page says so. */
const MOST = 5_000

export const useOpenAlarms = defineStore('open-alarms', () => {
  const rows = shallowRef<ReadonlyMap<string, Alarm>>(new Map())
  const loaded = ref(false)
  const error = shallowRef<unknown>(null)
  const latest = shallowRef<Alarm | null>(null)
  const sound = useSound()
  let stops: (() => void)[] = []

  const list = computed(() => [...rows.value.values()].sort(byUrgency))
  const waiting = computed(() => list.value.filter(unacknowledged))

  async function fetch() {
    try {
      const held = rows.value
      const fetched = await all<'alarms', Alarm>('/alarms', 'alarms', { state: 'raised,acknowledged,returned', limit: PAGE_MOST }, MOST)
      // What the live link brought while the list was on its way must not be undone by it.
      const merged = new Map(fetched.map((a) => [a.id, newer(rows.value !== held ? rows.value.get(a.id) : undefined, a)]))
      if (rows.value !== held) for (const [id, a] of rows.value) if (!held.has(id) && !merged.has(id) && open(a)) merged.set(id, a)
      rows.value = merged
      error.value = null
      loaded.value = true
    } catch (problem) {
      error.value = problem
    }
  }

  function take(changes: Alarm[]) {
    const next = new Map(rows.value)
    for (const change of changes) {
      const held = next.get(change.id)
      if (newer(held, change) !== change) continue
      if (open(change)) next.set(change.id, change)
      else next.delete(change.id)
      if (!held && loaded.value && unacknowledged(change) && !change.historic) {
        sound.warn(change.level)
        if (change.level === 'red') latest.value = change
      }
    }
    rows.value = next
  }

  function start() {
    if (stops.length) return
    stops = [link.subscribe('alarms', (data) => take(data as Alarm[])), link.onSnapshot(() => void fetch())]
    void fetch()
  }
  function stop() {
    for (const end of stops) end()
    stops = []
    rows.value = new Map()
    loaded.value = false
  }
  return { rows, list, waiting, loaded, error, latest, start, stop, fetch, take }
})
