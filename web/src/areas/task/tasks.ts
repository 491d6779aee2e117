// How much waits for the person who is signed in, for the mark in the menu and the list itself. Start at [`useTasks`].
import { ref, shallowRef } from 'vue'
import { defineStore } from 'pinia'
import { api } from '@/api/client'
import type { TaskPage } from '@/areas/register/types'

export const useTasks = defineStore('tasks', () => {
  const counts = shallowRef<{ overdue: number; week: number; open: number } | null>(null)
  /** Goes up with each act that may have changed the list. */
  const changed = ref(0)
  function take(page: TaskPage) {
    counts.value = { overdue: page.overdue, week: page.this_week, open: page.open }
  }
  async function poll() {
    try {
      take(await api.get<TaskPage>('/tasks', { limit: 1 }))
    } catch {
      // The mark keeps its last number; the page itself says what is wrong.
    }
  }
  async function refresh() {
    changed.value++
    await poll()
  }
  return { counts, changed, take, poll, refresh }
})
