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

// CPUs that this process may use. Looking takes the CPU away from the thread that is waited for where there are fewer
// than threads.
int usable_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
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

Team::Team(int threads) : threads_(threads) {
  if (threads_ > 1) start();
}

void Team::start() {
  shared_ = std::make_unique<Shared>();
  shared_->owner = getpid();
  shared_->looks = usable_cpus() >= threads_ ? kLooks : 0;
  Shared* s = shared_.get();
  try {
    for (int part = 1; part < threads_; ++part) s->workers.emplace_back([s, part] { s->work(part); });
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
