// How cuda_on_cpu.h runs kernels: linked into the same library as they.
//
//   a block is a thread of the operating system    those of a cooperative launch run all at once, so that a barrier of
//                                                  the whole grid is a real one; others a few at a time
//   a CUDA thread is a fiber, with its own stack   it runs until it has to wait, then the next one does: what lies
//                                                  between two barriers happens thread by thread, upwards or, with
//                                                  `descending`, downwards, so that a missing barrier shows
//   a cluster is as many blocks that run at once   one finds the shared memory of another by its distance from where
//                                                  its own thread_local memory begins
//   __shared__ is thread_local                     one copy a block, filled with 0xff bytes (NaN) before each block
//
// What would hang a GPU (threads that wait for each other, or at different barriers) ends the launch with a message.
// With -fsanitize=thread every fiber counts as a thread of its own, and only CUDA's barriers order what they do: two of
// them that touch the same memory without a barrier between are reported, whatever the order they ran in.
// What this cannot show is in README.md.
#include "cuda_on_cpu.h"

#include <link.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size)
#define ASAN_UNPOISON_MEMORY_REGION(start, size)
#endif

// What is done here while a fiber runs is none of ThreadSanitizer's business.
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define UNSEEN __attribute__((noinline, no_sanitize("thread")))
constexpr bool SEEN_AS_THREADS = true;
#else
#define UNSEEN
constexpr bool SEEN_AS_THREADS = false;
constexpr unsigned __tsan_switch_to_fiber_no_sync = 1;
static void* __tsan_get_current_fiber() { return nullptr; }
static void* __tsan_create_fiber(unsigned) { return nullptr; }
static void __tsan_destroy_fiber(void*) {}
static void __tsan_switch_to_fiber(void*, unsigned) {}
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

constexpr size_t MAX_SHARED = 227 * 1024;    // what a block can have on the largest GPUs
alignas(128) thread_local unsigned char dynamic_shared[MAX_SHARED];

namespace on_cpu {
namespace {

#ifndef ON_CPU_PATIENCE
#define ON_CPU_PATIENCE 60    // seconds a launch may take, since threads may look for ever for what never comes
#endif
using Clock = std::chrono::steady_clock;
constexpr size_t STACK = 256 * 1024;    // bytes a fiber; only those that are touched take memory
constexpr unsigned MAX_CLUSTER = 16, NEVER = ~0u;
enum Wait { READY, AT_WARP, AT_BLOCK, AT_CLUSTER, OUT_OF_TURN, ASTRAY, AT_GRID, ENDED };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[STACK]};
  bool idle = true;
  void* seen_as = __tsan_create_fiber(0);
  ~Fiber() { __tsan_destroy_fiber(seen_as); }
};

struct Thread {    // a CUDA thread
  Here here;
  Fiber* fiber = nullptr;
  Wait wait = READY;
  int line = 0;                      // where it waits
  unsigned mask = 0;                 // in an exchange: the lanes it waits for
  int from = 0;                      // the lane whose value it wants
  uint64_t value = 0, result = 0;
  bool wants_all = false;
  uint64_t all[32];                  // values, of which it wants more than one
  unsigned block_barriers = 0, grid_barriers = 0, cluster_barriers = 0;    // behind it
  unsigned arrivals = 0;                                                   // at a barrier of the cluster
};

struct Cluster {    // blocks that run at once, and what they know of each other
  const unsigned size;
  unsigned begun = 0;
  unsigned char* memory[MAX_CLUSTER]{};                        // where the thread_local memory of each begins
  unsigned arrivals[MAX_CLUSTER]{}, awaited[MAX_CLUSTER]{};    // of all its threads; the barrier it waits for, or 0
  unsigned ended = 0;
  char barriers[2]{};

  unsigned complete() const { return *std::min_element(arrivals, arrivals + size); }    // barriers
  bool is_stuck() const {    // no block goes on, and one at least has not ended
    for (unsigned i = 0; i < size; i++)
      if (arrivals[i] != NEVER && (!awaited[i] || awaited[i] <= complete())) return false;
    return complete() != NEVER;
  }
};

struct Launch {
  const dim3 blocks, threads;
  const unsigned cluster;    // blocks
  const size_t shared;
  const bool cooperative, descending;
  const Call call;
  const Kernel kernel;
  void** const arguments;
  std::deque<Cluster> clusters{};
  unsigned ended = 0, waiting = 0, generation = 0;    // blocks, and barriers of the grid that are behind them
  std::mutex mutex{};                                 // for these, and for error
  std::condition_variable changed{};
  std::string error{};
  bool failed = false;                                // the same for those who hold no lock
  char barriers[2]{};    // what ThreadSanitizer knows them by: one may be ahead of another thread by one barrier
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(ON_CPU_PATIENCE);

  unsigned n_blocks() const { return blocks.x * blocks.y * blocks.z; }
  unsigned n_threads() const { return threads.x * threads.y * threads.z; }

  void fail(const std::string& why) {
    if (error.empty()) error = why;
    __atomic_store_n(&failed, true, __ATOMIC_SEQ_CST);
    changed.notify_all();
  }

  void check_barrier() {
    if (waiting && waiting + ended == n_blocks())
      fail(std::to_string(waiting) + " blocks wait at a barrier of the grid for ever: the others have ended");
  }
};

// A thread of the operating system, and the block that it runs.
struct Worker {
  Launch& launch;
  const unsigned slot, rank;    // which of the clusters that run at once, which of its blocks
  Cluster* cluster = nullptr;
  size_t thread_local_size = 0;
  dim3 block{};
  std::vector<Thread> threads{};
  std::vector<std::unique_ptr<Fiber>> fibers{};
  ucontext_t scheduler{};
  void* seen_as = __tsan_get_current_fiber();
  Thread* self = nullptr;
  unsigned started = 0, told = 0;    // told: what the others know of its arrivals
  char barriers[2]{};

  void run(unsigned at_once);
  bool run_block();
  bool end_block();
  bool is_poisoned();
  bool meet();
  void fill();
  void tell_arrivals();
  bool sync_cluster();
  void start();
  void resume(Thread& thread);
  bool release();
  bool release_warp(Thread* warp, unsigned lanes);
  bool sync_blocks();
  void fail_waiting();
  Thread& in_order(unsigned k) { return threads[launch.descending ? threads.size() - 1 - k : k]; }
  unsigned count(Wait wait) {
    return std::count_if(threads.begin(), threads.end(), [=](auto& thread) { return thread.wait == wait; });
  }
};

thread_local Worker* volatile worker = nullptr;    // volatile: poison_shared writes over it

// --- in a fiber ------------------------------------------------------------------------------------------------------

UNSEEN void pause(Fiber& fiber) {
  __tsan_switch_to_fiber(worker->seen_as, __tsan_switch_to_fiber_no_sync);
  swapcontext(&fiber.context, &worker->scheduler);
}

UNSEEN void wait(Wait why, int line) {
  Thread& me = *worker->self;
  me.wait = why, me.line = line;
  pause(*me.fiber);
}

UNSEEN void wait(Wait why, int line, void* object) {
  __tsan_release(object);
  wait(why, line);
  __tsan_acquire(object);
}

// Runs one thread after the other, until one of them has to wait; that one keeps the fiber.
UNSEEN void fiber_main() {
  for (;;) {
    Worker& w = *worker;
    Fiber& fiber = *w.self->fiber;
    for (;;) {
      Thread& me = *w.self;
      w.launch.call(w.launch.kernel, w.launch.arguments);
      me.wait = ENDED;
      if (SEEN_AS_THREADS || w.started == w.launch.n_threads()) break;
      w.self = &w.in_order(w.started++);
      w.self->fiber = &fiber;
    }
    fiber.idle = true;
    __tsan_release(&w);
    pause(fiber);
  }
}

}  // namespace

UNSEEN const Here& here() { return worker->self->here; }
UNSEEN void sync_block(int line) { wait(AT_BLOCK, line, worker->barriers + worker->self->block_barriers++ % 2); }
UNSEEN void sync_grid(int line) { wait(AT_GRID, line, worker->launch.barriers + worker->self->grid_barriers++ % 2); }

UNSEEN void let_others_run() {
  std::this_thread::yield();
  wait(READY, 0, worker->self);
}

UNSEEN uint64_t exchange(unsigned mask, uint64_t value, int from, int line) {
  Thread& me = *worker->self;
  me.mask = mask, me.value = value, me.from = from;
  wait(AT_WARP, line, &me - me.here.rank % 32);
  return me.result;
}

UNSEEN void gather(uint64_t value, uint64_t (&all)[32], int line) {
  Thread& me = *worker->self;
  me.wants_all = true;
  exchange(~0u, value, 0, line);
  me.wants_all = false;
  for (int i = 0; i < 32; i++) all[i] = me.all[i];
}

UNSEEN unsigned cluster_size() { return worker->cluster->size; }
UNSEEN unsigned rank_in_cluster() { return worker->rank; }

// Whoever arrives does not wait: what it does from here on is ordered by the next barrier.
UNSEEN void arrive_at_cluster(int line) {
  Thread& me = *worker->self;
  if (me.arrivals > me.cluster_barriers) wait(OUT_OF_TURN, line);
  __tsan_release(worker->cluster->barriers + me.arrivals++ % 2);
}

UNSEEN void wait_for_cluster(int line) {
  Thread& me = *worker->self;
  wait(me.arrivals > me.cluster_barriers ? AT_CLUSTER : OUT_OF_TURN, line);
  __tsan_acquire(worker->cluster->barriers + me.cluster_barriers++ % 2);
}

UNSEEN void* in_shared_memory_of(unsigned rank, const volatile void* mine, int line) {
  const size_t from_begin = static_cast<const volatile unsigned char*>(mine) - worker->cluster->memory[worker->rank];
  if (rank >= worker->cluster->size || from_begin >= worker->thread_local_size) wait(ASTRAY, line);
  return worker->cluster->memory[rank] + from_begin;
}

// What was written before one fence can be read after another that comes later.
UNSEEN void fence() {
  static char all_fences;
  if constexpr (SEEN_AS_THREADS) {
    __tsan_release(&all_fences);
    __tsan_acquire(&all_fences);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

namespace {

// --- a block ---------------------------------------------------------------------------------------------------------

UNSEEN void Worker::resume(Thread& thread) {
  self = &thread;
  __tsan_switch_to_fiber(thread.fiber->seen_as, __tsan_switch_to_fiber_no_sync);
  swapcontext(&scheduler, &thread.fiber->context);
}

UNSEEN void Worker::start() {
  auto fiber = std::find_if(fibers.begin(), fibers.end(), [](auto& f) { return f->idle && !SEEN_AS_THREADS; });
  if (fiber == fibers.end()) {
    fiber = fibers.insert(fiber, std::make_unique<Fiber>());
    getcontext(&(*fiber)->context);
    (*fiber)->context.uc_stack.ss_sp = (*fiber)->stack.get();
    (*fiber)->context.uc_stack.ss_size = STACK;
    makecontext(&(*fiber)->context, fiber_main, 0);
  }
  (*fiber)->idle = false;
  Thread& next = in_order(started++);
  next.fiber = fiber->get();
  resume(next);
}

// All thread_local memory of this library, which is the kernels' shared memory, becomes NaN.
int poison_shared(dl_phdr_info* info, size_t, void*) {
  const ElfW(Phdr) *begin = info->dlpi_phdr, *end = begin + info->dlpi_phnum;
  const auto address = reinterpret_cast<ElfW(Addr)>(&poison_shared) - info->dlpi_addr;
  const bool is_this = std::any_of(begin, end, [&](auto& part) {
    return part.p_type == PT_LOAD && part.p_vaddr <= address && address < part.p_vaddr + part.p_memsz;
  });
  Worker* const kept = worker;
  for (auto part = begin; is_this && part != end; part++)
    if (part->p_type == PT_TLS) {
      memset(info->dlpi_tls_data, 0xff, part->p_memsz);
      kept->cluster->memory[kept->rank] = static_cast<unsigned char*>(info->dlpi_tls_data);
      kept->thread_local_size = part->p_memsz;
    }
  worker = kept;
  return is_this;
}

void Worker::fill() {
  dl_iterate_phdr(poison_shared, nullptr);
  ASAN_POISON_MEMORY_REGION(dynamic_shared + launch.shared, MAX_SHARED - launch.shared);
  const dim3 size = launch.threads;
  threads.clear();
  for (unsigned i = 0; i < launch.n_threads(); i++) {
    const dim3 index{i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    threads.push_back({{index, block, size, launch.blocks, i}});
  }
  started = told = 0;
}

// Goes on when the shared memory of all blocks of the cluster is there. It orders nothing for ThreadSanitizer: a kernel
// that looks into another block's before a barrier has told it that this one has begun is wrong.
UNSEEN bool Worker::meet() {
  __atomic_fetch_add(&cluster->begun, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&cluster->begun, __ATOMIC_SEQ_CST) < cluster->size) {
    if (__atomic_load_n(&launch.failed, __ATOMIC_SEQ_CST)) return false;
    sched_yield();
  }
  return true;
}

bool Worker::run_block() {
  fill();
  if (!meet()) return false;
  do {
    for (unsigned k = 0; k < started; k++)
      if (in_order(k).wait == READY) resume(in_order(k));
    while (started < threads.size()) start();
    tell_arrivals();
  } while (count(READY) ? Clock::now() < launch.deadline : count(ENDED) < threads.size() && release());
  __tsan_acquire(this);
  ASAN_UNPOISON_MEMORY_REGION(dynamic_shared, MAX_SHARED);
  std::lock_guard lock(launch.mutex);
  if (count(READY)) launch.fail("threads wait in a loop for ever");
  launch.ended++;
  launch.check_barrier();
  if (std::any_of(dynamic_shared + launch.shared, dynamic_shared + MAX_SHARED, [](auto byte) { return byte != 0xff; }))
    launch.fail("a write behind the " + std::to_string(launch.shared) + " bytes of dynamic shared memory");
  return launch.error.empty();
}

// As poison_shared has left it; `worker` is there as well.
bool Worker::is_poisoned() {
  unsigned char *const begin = cluster->memory[rank], *const end = begin + thread_local_size;
  auto* const kept = reinterpret_cast<const volatile unsigned char*>(&worker);
  return std::all_of(begin, end, [=](auto& byte) { return byte == 0xff || size_t(&byte - kept) < sizeof worker; });
}

// Its shared memory is gone while other blocks of its cluster go on: who reads there gets NaN.
bool Worker::end_block() {
  if (cluster->size > 1) dl_iterate_phdr(poison_shared, nullptr);
  std::unique_lock lock(launch.mutex);
  cluster->ended++;
  cluster->arrivals[rank] = NEVER;    // nobody waits for it any more
  if (cluster->is_stuck()) launch.fail("blocks of a cluster wait for each other for ever");
  launch.changed.notify_all();
  launch.changed.wait(lock, [&] { return cluster->ended == cluster->size || !launch.error.empty(); });
  if (cluster->size > 1 && !is_poisoned())
    launch.fail("a write into the shared memory of a block that has ended");
  return launch.error.empty();
}

void Worker::run(unsigned at_once) {
  dynamic_shared[0] = 0;    // the first touch of this thread's thread_local memory brings it about
  worker = this;
  for (unsigned k = slot; k < launch.clusters.size(); k += at_once) {
    const unsigned i = k * launch.cluster + rank;
    cluster = &launch.clusters[k];
    block = {i % launch.blocks.x, i / launch.blocks.x % launch.blocks.y, i / (launch.blocks.x * launch.blocks.y)};
    if (!run_block() || !end_block()) return;
  }
}

// --- what waits for each other ---------------------------------------------------------------------------------------

// Lets go those who have waited for each other; false where nobody ever will.
bool Worker::release() {
  bool any = false;
  for (size_t first = 0; first < threads.size(); first += 32)
    any |= release_warp(&threads[first], std::min<size_t>(32, threads.size() - first));
  if (any) return true;
  if (count(AT_CLUSTER) && !count(OUT_OF_TURN) && !count(ASTRAY)) {
    if (sync_cluster()) return true;
    fail_waiting();
    return false;
  }
  const unsigned alive = threads.size() - count(ENDED);
  const auto awake = std::find_if(threads.begin(), threads.end(), [](auto& thread) { return thread.wait != ENDED; });
  const bool one_line = std::all_of(awake, threads.end(), [&](auto& thread) {
    return thread.wait == ENDED || thread.line == awake->line;
  });
  if (!(count(AT_BLOCK) == alive && one_line) && !(count(AT_GRID) == alive && sync_blocks())) {
    fail_waiting();
    return false;
  }
  for (auto& thread : threads)
    if (thread.wait != ENDED) thread.wait = READY;
  return true;
}

// Exchanges that are complete: the lanes that the mask names and that have not ended are all there, with this mask.
bool Worker::release_warp(Thread* warp, unsigned lanes) {
  bool any = false;
  for (unsigned lane = 0; lane < lanes; lane++) {
    if (warp[lane].wait != AT_WARP) continue;
    const unsigned mask = warp[lane].mask;
    unsigned there = 0, alive = 0, ballot = 0;
    for (unsigned i = 0; i < lanes; i++) {
      const bool waits = warp[i].wait == AT_WARP && warp[i].mask == mask;
      alive |= unsigned(warp[i].wait != ENDED) << i;
      there |= unsigned(waits) << i;
      ballot |= unsigned(waits && warp[i].value) << i;
    }
    if (there != (mask & alive)) continue;
    for (unsigned i = 0; i < lanes; i++) {
      if (!(there >> i & 1)) continue;
      const int from = warp[i].from;    // a lane that is not there has no value
      warp[i].result = from == BALLOT ? ballot : there >> from & 1 ? warp[from].value : ~uint64_t(0);
      for (unsigned j = 0; warp[i].wants_all && j < 32; j++)
        warp[i].all[j] = there >> j & 1 ? warp[j].value : ~uint64_t(0);
    }
    for (unsigned i = 0; i < lanes; i++)
      if (there >> i & 1) warp[i].wait = READY;
    any = true;
  }
  return any;
}

void Worker::tell_arrivals() {
  unsigned arrivals = NEVER;
  for (auto& thread : threads)
    if (thread.wait != ENDED) arrivals = std::min(arrivals, thread.arrivals);
  if (arrivals == told || arrivals == NEVER) return;    // at the latter it has ended: see end_block
  std::lock_guard lock(launch.mutex);
  cluster->arrivals[rank] = told = arrivals;
  launch.changed.notify_all();
}

// Those who wait at a barrier of the cluster that is complete go on; false where it never will be.
bool Worker::sync_cluster() {
  unsigned first = NEVER;    // barrier
  for (auto& thread : threads)
    if (thread.wait == AT_CLUSTER) first = std::min(first, thread.arrivals);
  std::unique_lock lock(launch.mutex);
  cluster->awaited[rank] = first;
  if (cluster->is_stuck()) return false;
  launch.changed.wait(lock, [&] { return cluster->complete() >= first || !launch.error.empty(); });
  cluster->awaited[rank] = 0;
  for (auto& thread : threads)
    if (thread.wait == AT_CLUSTER && thread.arrivals <= cluster->complete()) thread.wait = READY;
  return launch.error.empty();
}

bool Worker::sync_blocks() {
  std::unique_lock lock(launch.mutex);
  const unsigned now = launch.generation;
  if (!launch.cooperative) launch.fail("a barrier of the grid in a launch that is not cooperative");
  if (++launch.waiting == launch.n_blocks()) launch.waiting = 0, launch.generation++, launch.changed.notify_all();
  launch.check_barrier();
  launch.changed.wait(lock, [&] { return launch.generation != now || !launch.error.empty(); });
  return launch.error.empty();
}

void Worker::fail_waiting() {
  const char* places[] = {"", "for lanes of its warp", "at __syncthreads", "at a barrier of the cluster",
                          "at a barrier of the cluster, out of turn", "for a place in shared memory that there is not",
                          "at a barrier of the grid", ""};
  const auto n = [](unsigned i) { return std::to_string(i); };
  std::string why = "block (" + n(block.x) + ", " + n(block.y) + ", " + n(block.z) + ") waits for ever: ";
  for (auto thread = threads.begin(); thread != threads.end(); thread++) {    // one for each place
    const auto is_there = [&](auto& other) { return other.wait == thread->wait && other.line == thread->line; };
    if (thread->wait != ENDED && std::none_of(threads.begin(), thread, is_there))
      why += "thread " + n(thread->here.rank) + " " + places[thread->wait] + " in line " + n(thread->line) + "; ";
  }
  std::lock_guard lock(launch.mutex);
  launch.fail(why + n(count(ENDED)) + " of " + n(threads.size()) + " threads have ended");
}

// --- a launch --------------------------------------------------------------------------------------------------------

const char* complaint(const Launch& launch) {
  const auto [x, y, z] = launch.threads;
  if (!x || !y || !z || x > 1024 || y > 1024 || z > 64 || uint64_t(x) * y * z > 1024)
    return "expected a block of 1 to 1024 threads";
  const dim3 grid = launch.blocks;
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    return "expected a grid of 1 to 2147483647, 65535, 65535 blocks";
  if (!launch.cluster || launch.cluster > MAX_CLUSTER) return "expected a cluster of 1 to 16 blocks";
  if (grid.x % launch.cluster) return "expected a grid of whole clusters";
  return launch.shared > MAX_SHARED ? "expected at most 227 KB of shared memory" : nullptr;
}

}  // namespace

const char* launch(Call call, Kernel kernel, void** arguments, const unsigned (&sizes)[6], unsigned cluster,
                   size_t shared, bool cooperative, bool descending) {
  Launch launch{{sizes[0], sizes[1], sizes[2]}, {sizes[3], sizes[4], sizes[5]}, cluster, shared, cooperative,
                descending, call, kernel, arguments};
  static thread_local std::string error;
  if (const char* expected = complaint(launch)) return expected;
  const unsigned n_clusters = launch.n_blocks() / cluster;
  for (unsigned k = 0; k < n_clusters; k++) launch.clusters.emplace_back(cluster);
  unsigned at_once = n_clusters;
  if (!cooperative && !SEEN_AS_THREADS) {    // what two blocks in one thread do is in order for ThreadSanitizer
    const bool is_small = uint64_t(launch.n_blocks()) * launch.n_threads() < 4096;    // no work for a second thread
    at_once = std::min(at_once, is_small ? 1 : std::max(1u, std::thread::hardware_concurrency() / cluster));
  }
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < at_once * cluster; i++)
    workers.emplace_back([&, i] { Worker{launch, i / cluster, i % cluster}.run(at_once); });
  for (auto& w : workers) w.join();
  error = launch.error;
  return error.empty() ? nullptr : error.c_str();
}

}  // namespace on_cpu
