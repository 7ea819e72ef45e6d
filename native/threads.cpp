#include "threads.h"

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "network.h"

namespace gossamer {
namespace {

// Looks at a flag before a thread goes to sleep: some 50 microseconds, a layer or two of an image network. Sleeping
// and waking costs 5 to 50 microseconds each time, and a network has a hundred rounds.
constexpr int kLooks = 1000;

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// CPUs that the calling thread may use; empty where nobody tells.
std::vector<int> usable_cpus() {
  std::vector<int> cpus;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
#endif
  return cpus;
}

// A wish: a thread that may not be moved stays where it is.
void stay_on([[maybe_unused]] int cpu) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)sched_setaffinity(0, sizeof set, &set);
#endif
}

}  // namespace

// A round begins when `round` grows and ends when `running` is 0. A thread that has looked long enough says under the
// mutex that it sleeps, and looks once more; the other side changes the value first and then asks whether anybody
// sleeps. Of two such threads one sees the other's write (all four are sequentially consistent).
struct Team::Shared {
  std::atomic<uint64_t> round{0};
  std::atomic<int> running{0}, sleepers{0};
  std::atomic<bool> stop{false}, caller_sleeps{false};
  std::mutex mutex;
  std::condition_variable wake, done;
  int looks = 0;
  void (*call)(const void*, int) = nullptr;
  const void* context = nullptr;
  std::vector<std::thread> workers;
  pid_t owner = 0;

  template <typename Ready>
  bool look(const Ready& ready) const {
    for (int i = 0; i < looks; ++i) {
      if (ready()) return true;
      pause_briefly();
    }
    return ready();
  }

  void work(int part) {
    uint64_t seen = 0;
    const auto called = [&] { return stop.load() || round.load() != seen; };
    for (;;) {
      if (!look(called)) {
        std::unique_lock<std::mutex> lock(mutex);
        ++sleepers;
        wake.wait(lock, called);
        --sleepers;
      }
      if (stop.load()) return;
      seen = round.load();
      call(context, part);
      if (running.fetch_sub(1) == 1 && caller_sleeps.load()) {
        std::lock_guard<std::mutex> lock(mutex);
        done.notify_one();
      }
    }
  }

  void start_round() {
    ++round;
    wake_sleepers();
  }
  void wake_sleepers() {
    if (sleepers.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_all();
  }
  void wait_for_all() {
    const auto finished = [&] { return running.load() == 0; };
    if (look(finished)) return;
    std::unique_lock<std::mutex> lock(mutex);
    caller_sleeps = true;
    done.wait(lock, finished);
    caller_sleeps = false;
  }
  void end() {
    stop = true;
    wake_sleepers();
    for (std::thread& worker : workers) worker.join();
  }
};

Team::Team(int threads, bool pin) : threads_(threads), pin_(pin) {
  if (threads_ > 1) start();
}

void Team::start() {
  shared_ = std::make_unique<Shared>();
  shared_->owner = getpid();
  const std::vector<int> cpus = usable_cpus();
  const size_t count = cpus.empty() ? std::thread::hardware_concurrency() : cpus.size();
  // Looking takes the CPU away from the thread that is waited for where there are fewer CPUs than threads.
  shared_->looks = count >= static_cast<size_t>(threads_) ? kLooks : 0;
  Shared* s = shared_.get();
  try {
    for (int part = 1; part < threads_; ++part) {
      const int cpu = pin_ && !cpus.empty() ? cpus[static_cast<size_t>(part) % cpus.size()] : -1;
      s->workers.emplace_back([s, part, cpu] {
        if (cpu >= 0) stay_on(cpu);
        s->work(part);
      });
    }
  } catch (...) {  // no more threads to be had: end those that started
    s->end();
    shared_.reset();
    throw Error{Error::Kind::plan,
                "expected to start " + std::to_string(threads_ - 1) + " threads, got fewer; ask for fewer threads"};
  }
}

Team::~Team() {
  if (!shared_) return;
  if (shared_->owner != getpid()) {  // after a fork the threads do not exist here: joining them would hang
    (void)shared_.release();
    return;
  }
  shared_->end();
}

std::vector<std::vector<int>> Team::places() {
  std::vector<std::vector<int>> found(static_cast<size_t>(threads_));
  run([&](int part) { found[static_cast<size_t>(part)] = usable_cpus(); });
  found.erase(found.begin());  // the caller's
  return found;
}

void Team::run_parts(void (*call)(const void*, int), const void* context) {
  if (shared_ && shared_->owner != getpid()) (void)shared_.release();
  if (!shared_) start();  // after a fork, and again where that failed
  Shared& s = *shared_;
  s.call = call;
  s.context = context;
  s.running = threads_ - 1;
  s.start_round();
  call(context, 0);
  s.wait_for_all();
}

}  // namespace gossamer
