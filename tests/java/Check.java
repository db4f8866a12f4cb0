import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Scanner;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.patchwork.Patchwork;
import org.patchwork.Patchwork.Frame;

/**
 * Patchwork.java, as test_java.py asks for it: `answers` writes those over frames of files, `misuse` fails unless each
 * mistake is told. Both read their words from standard input, as a JVM takes arguments for what the locale says.
 */
public class Check {
  private static final int OFFSET = 3, PADDING = 5; // buffers begin and rows end later than they might

  public static void main(String[] arguments) throws Throwable {
    Scanner words = new Scanner(System.in, "UTF-8").useDelimiter("\n");
    if (arguments[0].equals("answers")) {
      Patchwork.load(words.next());
      while (words.hasNext()) answers(words);
    } else {
      misuse(words.next(), words.next());
    }
  }

  private static void answers(Scanner words) throws IOException {
    String file = words.next(), start = words.next(), format = words.next();
    int height = words.nextInt(), width = words.nextInt(), rotation = words.nextInt();
    byte[] pixels = Files.readAllBytes(Path.of(words.next()));
    ByteArrayOutputStream numbers = new ByteArrayOutputStream();
    Patchwork.Stream stream;
    try (Patchwork model = Patchwork.open(file, 1)) {
      stream = model.stream(Patchwork.Start.valueOf(start));
      for (String label : model.labels()) numbers.writeBytes((label + "\n").getBytes(StandardCharsets.UTF_8));
    }
    Files.write(Path.of(words.next()), numbers.toByteArray());
    numbers.reset();
    try (stream) {
      int bytes = height * width * 3;
      if (format.equals("grey")) bytes /= 3;
      if (format.endsWith("a")) bytes = bytes / 3 * 4;
      if (format.matches("[niy].*")) bytes /= 2;
      for (int at = 0; at < pixels.length; at += bytes) {
        write(stream.push(frame(format, pixels, at, height, width).rotated(rotation)), numbers);
      }
    }
    Files.write(Path.of(words.next()), numbers.toByteArray());
  }

  private static void write(Patchwork.Answer answer, ByteArrayOutputStream numbers) {
    int pixels = answer.maskHeight * answer.maskWidth;
    ByteBuffer out = ByteBuffer.allocate(4 * (7 + 6 * answer.detections.size() + 2 * pixels));
    out.order(ByteOrder.LITTLE_ENDIAN).putFloat(answer.row).putFloat(answer.column).putFloat(answer.looked ? 1 : 0);
    out.putFloat(answer.detections.size()).putFloat(answer.maskHeight).putFloat(answer.maskWidth);
    out.putFloat(answer.classes == null ? 0 : 1);
    for (Patchwork.Detection found : answer.detections) {
      out.putFloat(found.ymin).putFloat(found.xmin).putFloat(found.ymax).putFloat(found.xmax);
      out.putFloat(found.score).putFloat(found.label);
    }
    for (int i = 0; i < pixels; i++) out.putFloat(answer.mask.get(i));
    for (int i = 0; answer.classes != null && i < pixels; i++) out.putFloat(answer.classes.get(i));
    numbers.write(out.array(), 0, out.position());
  }

  private static Frame frame(String format, byte[] pixels, int at, int height, int width) {
    int half = width / 2, colours = at + height * width, rows = height / 2;
    if (format.matches("[niy].*")) {
      ByteBuffer y = plane(pixels, at, height, width);
      if (format.equals("i420")) {
        ByteBuffer u = plane(pixels, colours, rows, half), v = plane(pixels, colours + rows * half, rows, half);
        return Frame.yuv420(y, u, v, height, width, width + PADDING, half + PADDING, 1, 0, false);
      }
      ByteBuffer both = plane(pixels, colours, rows, width), v = both.duplicate().position(OFFSET + 1);
      int stride = width + PADDING;
      if (format.equals("nv12")) return Frame.nv12(y, both, height, width, stride, stride, false);
      if (format.equals("nv21")) return Frame.nv21(y, both, height, width, stride, stride, false);
      ByteBuffer u = both.limit(both.limit() - 1); // as Android gives it: each plane ends with its last byte
      return Frame.yuv420(y, u, v, height, width, stride, stride, 2, 0, format.equals("yuv420full"));
    }
    int bytes = format.equals("grey") ? 1 : format.length(), stride = bytes * width + PADDING;
    ByteBuffer rgb = plane(pixels, at, height, bytes * width);
    switch (format) {
      case "rgb": return Frame.rgb(rgb, height, width, stride);
      case "bgr": return Frame.bgr(rgb, height, width, stride);
      case "rgba": return Frame.rgba(rgb, height, width, stride);
      case "bgra": return Frame.bgra(rgb, height, width, stride);
      default: return Frame.grey(rgb, height, width, stride);
    }
  }

  private static ByteBuffer plane(byte[] from, int at, int rows, int row) {
    ByteBuffer plane = ByteBuffer.allocateDirect(OFFSET + rows * (row + PADDING) - PADDING);
    for (int y = 0; y < rows; y++) plane.position(OFFSET + y * (row + PADDING)).put(from, at + y * row, row);
    return plane.position(OFFSET);
  }

  private interface Action {
    void run() throws Exception;
  }

  private static void told(Class<? extends Throwable> kind, String part, Action action) {
    try {
      action.run();
    } catch (Throwable thrown) {
      String line = String.valueOf(thrown.getMessage());
      if (thrown.getClass() == kind && line.contains(part) && !line.contains("\n")) return;
      throw new AssertionError("not " + kind.getSimpleName() + " with '" + part + "'", thrown);
    }
    throw new AssertionError("nothing is thrown: " + part);
  }

  private static final Class<IllegalArgumentException> ARGUMENT = IllegalArgumentException.class;
  private static final Class<IllegalStateException> STATE = IllegalStateException.class;
  private static final Class<NullPointerException> NULL = NullPointerException.class;

  private static void misuse(String library, String path) throws Throwable {
    told(NULL, "library: null", () -> Patchwork.load(null));
    told(STATE, "call Patchwork.load first", () -> Patchwork.open(path, 1));
    told(UnsatisfiedLinkError.class, "no such file", () -> Patchwork.load("/no such file.so"));
    told(STATE, "call Patchwork.load first", () -> Patchwork.open(path, 1));
    Patchwork.load(library);
    Patchwork.load(library);
    told(UnsatisfiedLinkError.class, "can have only one", () -> Patchwork.load("libc.so.6"));
    files(path);
    try (Patchwork model = Patchwork.open(path, 1); Patchwork.Stream stream = model.stream()) {
      frames(stream);
      told(NULL, "start: null", () -> model.stream(null));
      told(IndexOutOfBoundsException.class, "", () -> model.label(-1));
      told(IndexOutOfBoundsException.class, "", () -> model.label(model.labels().size()));
    }
    closed(path);
    threads(path);
    System.out.println("all told");
  }

  private static void files(String path) throws Exception {
    byte[] content = Files.readAllBytes(Path.of(path));
    ByteBuffer direct = ByteBuffer.allocateDirect(content.length + 32).alignedSlice(16);
    direct.put(content).flip();
    told(NULL, "path: null", () -> Patchwork.open((String) null, 1));
    told(ARGUMENT, "character 0", () -> Patchwork.open("a\0b", 1));
    told(IOException.class, "grüße 🦆", () -> Patchwork.open("/grüße 🦆", 1));
    told(IOException.class, "/etc", () -> Patchwork.open("/etc", 1));
    told(IOException.class, "passwd", () -> Patchwork.open("/etc/passwd", 1));
    for (int threads : new int[] {0, -1, 65, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      told(ARGUMENT, "threads", () -> Patchwork.open(path, threads));
    }
    told(NULL, "content: null", () -> Patchwork.open((ByteBuffer) null, 1));
    told(ARGUMENT, "not a direct buffer", () -> Patchwork.open(ByteBuffer.wrap(content), 1));
    told(ARGUMENT, "16 does not divide", () -> Patchwork.open(direct.duplicate().position(1), 1));
    told(IOException.class, "", () -> Patchwork.open(direct.duplicate().limit(0), 1));
    told(IOException.class, "", () -> Patchwork.open(direct.duplicate().limit(content.length / 2), 1));
    told(ARGUMENT, "negative", () -> Patchwork.open(-1, 0, 9, 1));
    told(IOException.class, "", () -> Patchwork.open(9999, 0, 9, 1));
    try (RandomAccessFile file = new RandomAccessFile(path, "r")) {
      Field field = FileDescriptor.class.getDeclaredField("fd");
      field.setAccessible(true);
      int descriptor = field.getInt(file.getFD());
      told(ARGUMENT, "negative", () -> Patchwork.open(descriptor, -1, 9, 1));
      told(ARGUMENT, "negative", () -> Patchwork.open(descriptor, 0, -1, 1));
      told(IOException.class, "", () -> Patchwork.open(descriptor, 0, Long.MAX_VALUE, 1));
      told(IOException.class, "", () -> Patchwork.open(descriptor, Long.MAX_VALUE, Long.MAX_VALUE, 1));
      told(IOException.class, "", () -> Patchwork.open(descriptor, 16, content.length - 16, 1));
      same(path, Patchwork.open(descriptor, 0, content.length, 1));
      same(path, Patchwork.open(file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, content.length), 1));
    }
  }

  /** A model is used and closed; it answers as the file of that path, though nothing else holds its buffer. */
  private static void same(String path, Patchwork model) throws IOException {
    byte[] pixels = new byte[64 * 64 * 3];
    new Random(0).nextBytes(pixels);
    List<byte[]> answers = new ArrayList<>();
    for (Patchwork each : List.of(model, Patchwork.open(path, 2))) {
      Patchwork.Stream stream = each.stream(Patchwork.Start.SWEEP);
      each.close();
      ByteArrayOutputStream numbers = new ByteArrayOutputStream();
      for (int i = 0; i < 4; i++) {
        System.gc();
        write(stream.push(frame("rgb", pixels, 0, 64, 64)), numbers);
      }
      stream.close();
      answers.add(numbers.toByteArray());
    }
    if (!Arrays.equals(answers.get(0), answers.get(1))) throw new AssertionError("answers differ");
  }

  private static void frames(Patchwork.Stream stream) {
    ByteBuffer exact = ByteBuffer.allocateDirect(20 * 30 * 3), less = exact.duplicate().limit(1799);
    ByteBuffer grey = ByteBuffer.allocateDirect(1 << 16), half = ByteBuffer.allocateDirect(9 * 30 + 29);
    int most = Integer.MAX_VALUE;
    told(NULL, "frame: null", () -> stream.push(null));
    told(NULL, "plane 0: null", () -> Frame.rgb(null, 20, 30, 90));
    told(NULL, "plane 2: null", () -> Frame.yuv420(grey, grey, null, 20, 30, 30, 30, 2, 0, true));
    told(ARGUMENT, "not a direct buffer", () -> Frame.rgb(ByteBuffer.allocate(1800), 20, 30, 90));
    told(ARGUMENT, "1799 bytes of 1800", () -> Frame.rgb(less, 20, 30, 90));
    told(ARGUMENT, "1799 bytes of 1800", () -> Frame.rgb(exact.duplicate().position(1), 20, 30, 90));
    told(ARGUMENT, "1800 bytes of 1819", () -> Frame.rgb(exact, 20, 30, 91));
    told(ARGUMENT, "less than a row", () -> Frame.rgb(exact, 20, 30, 89));
    told(ARGUMENT, "less than a row", () -> Frame.rgba(exact, 20, 30, -120));
    told(ARGUMENT, "less than 1", () -> Frame.rgb(exact, 0, 30, 90));
    told(ARGUMENT, "less than 1", () -> Frame.rgb(exact, 20, -1, 90));
    told(ARGUMENT, "bytes of 4611686014132420609", () -> Frame.grey(exact, most, most, most));
    told(ARGUMENT, "less than a row", () -> Frame.rgb(exact, most, most, most));
    told(ARGUMENT, "less than a row", () -> Frame.yuv420(grey, grey, grey, 2, 30, 30, most, most, 0, true));
    told(ARGUMENT, "pixel stride", () -> Frame.yuv420(grey, grey, grey, 20, 30, 30, 30, 0, 0, true));
    told(ARGUMENT, "plane 1 has 298 bytes of 299",
        () -> Frame.yuv420(grey, half.duplicate().limit(298), half, 20, 30, 30, 30, 2, 0, true));
    told(ARGUMENT, "plane 1 has 299 bytes of 300", () -> Frame.nv21(grey, half, 19, 29, 30, 30, true));
    for (int degrees : new int[] {1, -90, 360, most}) {
      told(ARGUMENT, "rotation", () -> Frame.rgb(exact, 20, 30, 90).rotated(degrees));
    }
    told(ARGUMENT, "cannot be", () -> stream.push(Frame.grey(grey, 1, 40000, 40000)));
    told(ARGUMENT, "cannot be", () -> stream.push(Frame.yuv420(grey, grey, grey, 20, 30, 30, 99, 5, 0, true)));
    Frame frame = Frame.yuv420(grey, half, half, 20, 30, 30, 30, 2, 0, true);
    stream.push(frame);
    told(ARGUMENT, "before", () -> stream.push(Frame.grey(grey, 30, 20, 20)));
    told(ARGUMENT, "before", () -> stream.push(frame.rotated(90)));
    stream.push(frame); // it goes on
    stream.reset();
    stream.push(frame.rotated(90));
    stream.reset();
  }

  private static void closed(String path) throws IOException {
    Frame frame = Frame.grey(ByteBuffer.allocateDirect(256), 16, 16, 16);
    Patchwork model = Patchwork.open(path, 1);
    Patchwork.Stream stream = model.stream();
    model.close();
    model.close();
    told(STATE, "closed", model::stream);
    stream.push(frame); // the last stream keeps the model
    stream.close();
    stream.close();
    told(STATE, "closed", () -> stream.push(frame));
    told(STATE, "closed", stream::reset);
    if (model.height() < 1 || model.labels().isEmpty()) throw new AssertionError("what is known stays so");
  }

  /** Whoever comes while another thread is at work is told, and nothing breaks, whatever they do. */
  private static void threads(String path) throws Throwable {
    Frame frame = Frame.rgb(ByteBuffer.allocateDirect(3 * 720 * 1280), 720, 1280, 3 * 1280);
    AtomicReference<Throwable> wrong = new AtomicReference<>();
    AtomicInteger refused = new AtomicInteger();
    for (int round = 0; round < 3; round++) {
      Patchwork model = Patchwork.open(path, 1);
      Patchwork.Stream stream = model.stream(), other = model.stream();
      List<Action> turns = List.of(
          () -> stream.push(frame), () -> other.push(frame), stream::reset, () -> model.stream().close(),
          model::close, stream::close, other::close);
      List<Thread> threads = new ArrayList<>();
      for (int seed = 0; seed < 3; seed++) {
        Random random = new Random(seed);
        threads.add(new Thread(() -> {
          for (int turn = 0; turn < 40 && wrong.get() == null; turn++) {
            try { // nothing is closed before many have met
              turns.get(random.nextInt(turn < 30 ? 4 : 7)).run();
            } catch (IllegalStateException told) {
              if (told.getMessage().contains("another thread")) refused.incrementAndGet();
              else if (turn < 30 && !told.getMessage().contains("closed")) wrong.set(told);
              Thread.yield();
            } catch (Throwable thrown) {
              wrong.set(thrown);
            }
          }
        }));
      }
      for (Thread thread : threads) thread.start();
      for (Thread thread : threads) thread.join();
      stream.close();
      other.close();
      model.close();
    }
    if (wrong.get() != null) throw wrong.get();
    if (refused.get() == 0) throw new AssertionError("nobody was told");
  }
}
